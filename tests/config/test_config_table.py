"""The table of directives: consistent in itself, and with Redis' own defaults."""

import pytest

from mpkv.config import Config
from mpkv.config_table import ALIASES, DIRECTIVES, OWN, Flag

#: Directives whose default is another than Redis 7.0.15's, and why.
KNOWN_DIFFERENCES = {
    "client-output-buffer-limit": "normal clients have a limit",
    "lazyfree-lazy-eviction": "yes, as in Valkey 8: a large value would hold up the shard that frees it",
    "lazyfree-lazy-expire": "the same",
    "lazyfree-lazy-server-del": "the same",
    "dir": "depends on where a server is started",
    "port": "the reference runs on another port",
    "save": "the reference is started without",
}
#: Shown by 7.0 under a glob, hidden in 7.2.
HIDDEN_SINCE = {"aof-disable-auto-gc"}
#: New in 7.2.
NEW_SINCE = {"locale-collate", "cluster-announce-human-nodename", "set-max-listpack-entries", "set-max-listpack-value"}


@pytest.fixture
def redis_defaults(reference) -> dict[str, str]:
    reply = reference.call([b"CONFIG", b"GET", b"*"])
    words = [line.decode() for line in reply.split(b"\r\n")[2::2]]
    return dict(zip(words[::2], words[1::2], strict=True))


def test_every_directive_of_redis_has_its_name_and_default(redis_defaults):
    ours = Config().get(["*", *HIDDEN_SINCE])
    assert redis_defaults.keys() - ours.keys() == set()
    different = {name for name, value in redis_defaults.items() if ours[name] != value}
    assert different == KNOWN_DIFFERENCES.keys()


def test_only_our_own_and_newer_directives_are_unknown_to_redis(redis_defaults):
    shown_own = {name for name in OWN if not DIRECTIVES[name].hidden}
    assert Config().get(["*"]).keys() - redis_defaults.keys() == shown_own | NEW_SINCE


@pytest.mark.parametrize("row", DIRECTIVES.values(), ids=lambda row: row.name)
def test_every_default_survives_being_written_and_read(row):
    value = row.default_value()
    again = {} if isinstance(value, dict) else []
    for line in row.kind.lines(value):
        again = row.kind.parse(line, again)
    assert again == value or (row.kind.lines(value) == [] and value == [])
    assert row.doc


def test_no_alias_is_a_directive_too():
    assert ALIASES.keys() & DIRECTIVES.keys() == set()
    assert len({row.attribute for row in DIRECTIVES.values()}) == len(DIRECTIVES)


def test_no_directive_hides_a_method_of_the_configuration():
    assert not {row.attribute for row in DIRECTIVES.values()} & set(dir(Config))


def test_passwords_are_sensitive():
    for name in ("requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass"):
        assert DIRECTIVES[name].sensitive


def test_our_own_directives_are_used():
    assert all(DIRECTIVES[name].used for name in OWN)
    assert Flag.UNUSED in DIRECTIVES["io-threads"].flags
