"""CONFIG's handlers: bytes in, values out; what they do is tested with the configuration itself."""

from types import SimpleNamespace

import pytest

from mpkv.commands import configuration
from mpkv.config import Config
from mpkv.errors import CommandError
from mpkv.resp.replies import OK


@pytest.fixture
def conn():
    resets = []
    server = SimpleNamespace(config=Config(), reset_statistics=lambda: resets.append(1), resets=resets)
    server.is_local = lambda conn: True
    server.settings_changed = lambda pairs: None
    return SimpleNamespace(server=server)


def test_config_get_answers_a_map_of_bytes(conn):
    assert configuration.config_get(conn, b"maxmemor[x-z]", b"HZ") == {b"maxmemory": b"0", b"HZ": b"10"}


def test_config_set_takes_any_bytes(conn):
    assert configuration.config_set(conn, b"requirepass", b"\xff\x00", b"hz", b"20") is OK
    assert configuration.config_get(conn, b"requirepass") == {b"requirepass": b"\xff\x00"}
    assert conn.server.config.hz == 20


def test_config_set_with_half_a_pair_is_a_syntax_error(conn):
    with pytest.raises(CommandError, match=r"^ERR syntax error$"):
        configuration.config_set(conn, b"hz", b"20", b"port")
    assert conn.server.config.hz == 10


def test_a_protected_directive_may_be_open_to_clients_of_this_machine(conn, tmp_path):
    conn.server.config.enable_protected_configs = "local"
    assert configuration.config_set(conn, b"dir", str(tmp_path).encode()) is OK
    conn.server.is_local = lambda conn: False
    with pytest.raises(CommandError, match="can't set protected config"):
        configuration.config_set(conn, b"dir", b"/")


def test_config_rewrite_without_a_file_is_refused(conn):
    with pytest.raises(CommandError, match="without a config file"):
        configuration.config_rewrite(conn)


def test_config_resetstat_resets(conn):
    assert configuration.config_resetstat(conn) is OK
    assert conn.server.resets == [1]


def test_config_help_and_flags_are_those_of_redis(conn, reference):
    help_text = b"".join(b"+%b\r\n" % line for line in configuration.config_help(conn))
    assert reference.call([b"CONFIG", b"HELP"]).split(b"\r\n", 1)[1] == help_text
    from mpkv.commands.spec import FLAG_NAMES, _declared

    for name in ("get", "set", "resetstat", "rewrite", "help"):
        declared = _declared[f"config|{name}"]
        words = reference.call([b"COMMAND", b"INFO", f"config|{name}".encode()]).split(b"\r\n")
        flags = {word[1:].decode() for word in words if word.startswith(b"+") and not word.startswith(b"+@")}
        assert f":{declared.arity}".encode() in words
        assert {FLAG_NAMES[flag] for flag in declared.flags} == flags
