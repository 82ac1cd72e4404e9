"""What commands tell the log: replayed on an empty server it brings the same data back."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.differential import Words, crosses_slots, elements, play
from tests.helpers.reference import Connection
from tests.properties.families import FAMILIES, KEYS, sequences
from tests.properties.rivals import OK, Rival, Rivals

#: Commands whose choice is random: their effects say what was chosen.
CHOICES = ("SPOP KEY", "SPOP KEY COUNT", "SADD KEY MEMBER MEMBER MEMBER", "HRANDFIELD KEY", "SRANDMEMBER KEY")
TEMPLATES = {**FAMILIES, "choices": CHOICES, "all": sum(FAMILIES.values(), CHOICES)}


def effects_of(connection: Connection) -> list[tuple[bytes, Words]]:
    """Database and words of all effects of all shards, in the order of their numbers."""
    records = []
    for shard in elements(connection.call([b"DEBUG", b"EFFECTS", b"GET"])):
        for record in elements(shard):
            number, _parts, effects = elements(record)
            records.append(
                (int(number[1:]), [[_text(word) for word in elements(effect)] for effect in elements(effects)])
            )
    return [
        (effect[0], effect[1:]) for _, effects in sorted(records, key=lambda record: record[0]) for effect in effects
    ]


def _text(reply: bytes) -> bytes:
    """The value of a bulk string or an integer."""
    line = io.BytesIO(reply).readline()
    return reply[len(line) : -2] if line.startswith(b"$") else line[1:-2]


def replay(connection: Connection, effects: list[tuple[bytes, Words]]) -> None:
    requests = [request for database, words in effects for request in ([b"SELECT", database], words)]
    for words, reply in zip(requests, play(connection, requests), strict=True):
        assert not reply.startswith(b"-"), f"the log holds {words!r}, which fails: {reply!r}"
    connection.call([b"SELECT", b"0"])


@pytest.mark.parametrize("family", TEMPLATES)
@given(data=st.data())
def test_replayed_effects_bring_the_same_data_back(family: str, data: st.DataObject, rivals: Rivals) -> None:
    one_shard, four_shards = rivals.tested
    requests = data.draw(sequences(TEMPLATES[family]))
    for original, copies in ((four_shards, (one_shard, rivals.reference)), (one_shard, (four_shards,))):
        rivals.empty(protocol=2)
        effects = _play_and_collect(original, requests)
        digest = original.digest()
        for copy in copies:
            replay(copy.connection, effects)
            copy.connection.call_all([[b"SELECT", b"1"], [b"EXISTS", *KEYS], [b"SELECT", b"0"], [b"EXISTS", *KEYS]])
            assert copy.digest() == digest, f"{copy.name} holds other data after the effects {effects!r}"


def _play_and_collect(original: Rival, requests: list[Words]) -> list[tuple[bytes, Words]]:
    connection = original.connection
    assert connection.call([b"DEBUG", b"EFFECTS", b"ON"]) == OK
    try:
        play(connection, [words for words in requests if not crosses_slots(words, original.shards)])
        connection.call_all([[b"SELECT", b"1"], [b"EXISTS", *KEYS], [b"SELECT", b"0"], [b"EXISTS", *KEYS]])
        return effects_of(connection)
    finally:
        connection.call([b"DEBUG", b"EFFECTS", b"OFF"])
