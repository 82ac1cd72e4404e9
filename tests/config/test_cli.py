"""The command line: what each subcommand prints and returns."""

import pytest

from mpkv import __version__, cli
from tests.helpers.reference import Connection, free_port, reference_server


def test_the_version_begins_as_redis_server_does(capsys):
    assert cli.server_main(["--version"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("Redis server v=7.2.6 sha=00000000:0 malloc=libc bits=64 build=")
    assert line.endswith(f" mpkv={__version__}\n")


@pytest.mark.parametrize("argv", [["--sentinel"], ["x.conf", "--sentinel"], ["--test-memory", "5"], ["-h"], ["--help"]])
def test_what_the_server_cannot_do_it_refuses(argv, capsys):
    assert cli.server_main(argv) == 1
    assert capsys.readouterr().err


def test_first_arguments_count_only_at_the_first_place(capsys):
    assert cli.server_main(["--requirepass", "x", "--version", "1"]) == 1
    assert ">>> 'version 1'" in capsys.readouterr().err


def test_a_config_that_cannot_be_used_is_explained(tmp_path, capsys):
    path = tmp_path / "x.conf"
    path.write_text("port 1\nmaxmemmory 5\n")
    assert cli.main(["check-config", str(path)]) == 1
    err = capsys.readouterr().err
    assert f"Reading the configuration file {path}, at line 2" in err
    assert ">>> 'maxmemmory 5'" in err
    assert "did you mean maxmemory?" in err


def test_a_config_that_can_be_used_is_approved_with_its_warnings(tmp_path, capsys):
    path = tmp_path / "x.conf"
    path.write_text("port 1\nio-threads 4\n")
    assert cli.main(["check-config", str(path)]) == 0
    assert capsys.readouterr().out == (
        f"warning: io-threads is accepted but has no effect in this version of mpkv\n{path}: OK\n"
    )


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["check-config"], ["ping", "-p"], ["ping", "-x", "1"]])
def test_a_command_line_that_is_not_understood_gives_2(argv, capsys):
    assert cli.main(argv) == 2
    assert "usage: mpkv" in capsys.readouterr().err


def test_ping_says_whether_a_server_answers(tmp_path, capsys):
    with reference_server("--unixsocket", str(tmp_path / "s")) as port:
        assert cli.main(["ping", "-p", str(port)]) == 0
        assert cli.main(["ping", "-s", str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out == "PONG\nPONG\n"
    assert cli.main(["ping", "-p", str(free_port())]) == 1


def test_ping_with_a_password(capsys, monkeypatch):
    monkeypatch.delenv("REDISCLI_AUTH", raising=False)
    with reference_server() as port:
        connection = Connection(port)
        connection.call([b"CONFIG", b"SET", b"requirepass", b"secret"])
        connection.close()
        assert cli.main(["ping", "-p", str(port)]) == 1
        assert cli.main(["ping", "-p", str(port), "-a", "wrong"]) == 1
        assert cli.main(["ping", "-p", str(port), "-a", "secret"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NOAUTH", "WRONGPASS", "PONG"]


def test_the_server_gets_the_configuration(monkeypatch):
    import sys
    import types

    seen = []
    stand_in = types.ModuleType("mpkv.supervisor")
    stand_in.run = lambda config: seen.append(config.port) or 7
    monkeypatch.setitem(sys.modules, "mpkv.supervisor", stand_in)
    monkeypatch.setattr("mpkv.supervisor", stand_in, raising=False)
    assert cli.main(["serve", "--port", "5"]) == 7
    assert cli.server_main(["--port", "6"]) == 7
    assert seen == [5, 6]
