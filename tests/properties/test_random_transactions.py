"""Random transactions, with another client that gets in between: the same replies and data as on redis-server."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.testing import Server
from tests.helpers.differential import Words, command_of, crosses_slots
from tests.helpers.reference import Connection
from tests.properties.families import IN_TRANSACTIONS, KEYS, TRANSACTIONS, requests
from tests.properties.rivals import Rival, Rivals


@pytest.fixture(scope="module")
def other_clients(one_worker: Server, four_workers: Server, reference_port: int) -> Iterator[Rivals]:
    """A second connection to each server."""
    ports = {"redis": (reference_port, 1), "one shard": (one_worker.port, 1), "four shards": (four_workers.port, 4)}
    with ExitStack() as stack:
        yield Rivals(
            *(
                Rival(name, stack.enter_context(closing(Connection(port))), shards)
                for name, (port, shards) in ports.items()
            )
        )


#: A run of requests by one client, and whether it is the other.
turns = st.lists(
    st.tuples(st.lists(requests(TRANSACTIONS), min_size=1, max_size=10), st.booleans()), min_size=1, max_size=8
)


@given(turns=turns, protocol=st.sampled_from([2, 3]))
def test_random_transactions_reply_as_redis_does_and_leave_the_same_data(
    turns: list[tuple[list[Words], bool]], protocol: int, rivals: Rivals, other_clients: Rivals
) -> None:
    rivals.empty(protocol)
    other_clients.empty(protocol)
    inside = {False: False, True: False}
    for run, is_other in turns:
        near = []
        for words in run:
            # With WATCH all that a transaction concerns must be on one shard: keys of one tag, nothing on all shards
            if not (_leaves_the_tag(words) or (inside[is_other] and _is_everywhere(words))):
                near.append(words)
                inside[is_other] = _is_inside(words, inside[is_other])
        (other_clients if is_other else rivals).play(near)
    for clients in (rivals, other_clients):
        clients.play([[b"RESET"]])
    rivals.compare_data(KEYS)


def _is_inside(words: Words, before: bool) -> bool:
    """Whether the client may be between MULTI and EXEC after a request."""
    if words[0].upper() == b"MULTI":
        return True
    return before and words not in ([b"EXEC"], [b"DISCARD"], [b"RESET"])


def _is_everywhere(words: Words) -> bool:
    command = command_of(words)
    return command is not None and command.across is not None and command.across.everywhere


def _leaves_the_tag(words: Words) -> bool:
    return any(key in words for key in KEYS if not (key == b"a" or key.startswith(b"{a}")))


@given(run=st.lists(requests(IN_TRANSACTIONS), max_size=20), protocol=st.sampled_from([2, 3]))
def test_a_transaction_over_all_shards_replies_as_redis_does(run: list[Words], protocol: int, rivals: Rivals) -> None:
    run = [words for words in run if not crosses_slots(words, 4)]
    rivals.compete([[b"MULTI"], *run, [b"EXEC"]], KEYS, protocol)
