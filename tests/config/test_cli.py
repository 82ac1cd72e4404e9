"""The command line: what each subcommand prints and returns."""

import contextlib
import socket
import threading
import time

import pytest

from mpkv import __version__, cli
from mpkv.config import Config
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


def test_every_mistake_of_a_config_is_explained_with_its_place(tmp_path, capsys):
    """Also those of a file that it includes."""
    included = tmp_path / "more.conf"
    included.write_text("# nothing\nappendonly maybe\n")
    path = tmp_path / "x.conf"
    path.write_text(f"port 70000\nmaxclients 10\ninclude {included}\nhz\n")
    assert cli.main(["check-config", str(path)]) == 1
    captured = capsys.readouterr()
    assert "OK" not in captured.out
    lines = [line for line in captured.err.splitlines() if line]
    assert [line for line in lines if line.startswith(("Reading", ">>>"))] == [
        f"Reading the configuration file {path}, at line 1", ">>> 'port 70000'",
        f"Reading the configuration file {included}, at line 2", ">>> 'appendonly maybe'",
        f"Reading the configuration file {path}, at line 4", ">>> 'hz'",
    ]  # fmt: skip
    assert "argument must be between 0 and 65535 inclusive" in lines
    assert "argument must be 'yes' or 'no'" in lines
    assert any(line.startswith("wrong number of arguments; hz is: ") for line in lines)


@pytest.mark.parametrize("name", ["no-such.conf", "."])
def test_a_config_that_cannot_be_read_is_named(name, tmp_path, capsys):
    assert cli.main(["check-config", str(tmp_path / name)]) == 1
    assert str(tmp_path / name).removesuffix("/.") in capsys.readouterr().err


def test_verbose_shows_the_settings_as_a_config_that_has_the_same_effect(tmp_path, capsys):
    path = tmp_path / "x.conf"
    path.write_text('port 7000\nsave 60 1\nrequirepass "s3cret word"\nclient-output-buffer-limit pubsub 1mb 2mb 3\n')
    assert cli.main(["check-config", str(path), "-v"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"{path}: OK"
    assert "port 7000" in lines
    assert "# requirepass is set and not shown" in lines
    assert not any("s3cret" in line for line in lines)
    shown = tmp_path / "shown.conf"
    shown.write_text("\n".join(lines) + "\n")
    again, mistakes = Config.check_file(str(shown))
    assert mistakes == []
    assert {*again.lines()} ^ {*lines} == {"# requirepass is set and not shown", 'requirepass ""'}


@pytest.mark.parametrize("argv", [["check-config"], []])
def test_a_configuration_of_sentinel_is_refused_with_what_to_use(argv, tmp_path, capsys):
    path = tmp_path / "sentinel.conf"
    path.write_text("port 26379\nsentinel monitor mymaster 127.0.0.1 6379 2\n")
    run = cli.main if argv else cli.server_main
    assert run([*argv, str(path)]) == 1
    captured = capsys.readouterr().err
    assert "at line 2" in captured
    assert "redis-sentinel" in captured


@pytest.mark.parametrize(("argv", "use"), [(["--test-memory", "100"], "memtester"), (["--sentinel"], "redis-sentinel")])
def test_what_is_refused_says_what_to_use(argv, use, capsys):
    assert cli.server_main(argv) == 1
    assert use in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        [], ["nonsense"], ["check-config"], ["check-config", "-v"], ["ping", "-p"], ["ping", "-x", "1"],
        ["ping", "-p", "x"], ["ping", "--port", "70000"], ["ping", "--timeout", "0"],
    ],
)
def test_a_command_line_that_is_not_understood_gives_2(argv, capsys):
    assert cli.main(argv) == 2
    assert "usage: mpkv" in capsys.readouterr().err


def test_ping_says_whether_a_server_answers(tmp_path, capsys):
    with reference_server("--unixsocket", str(tmp_path / "s")) as port:
        assert cli.main(["ping", "-p", str(port)]) == 0
        assert cli.main(["ping", "-s", str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out == "PONG\nPONG\n"
    assert cli.main(["ping", "-p", str(free_port())]) == 1


def test_ping_takes_long_options(capsys):
    with reference_server() as port:
        connection = Connection(port)
        connection.call([b"CONFIG", b"SET", b"requirepass", b"secret"])
        connection.close()
        options = ["--host", "localhost", "--port", str(port), "--timeout=2"]
        assert cli.main(["ping", *options]) == 1
        assert cli.main(["ping", *options, "--password", "secret"]) == 0
        assert cli.main(["ping", *options, "--user=default", "--password=secret"]) == 0
        assert cli.main(["ping", *options, "--user", "nobody", "--password", "secret"]) == 1


@pytest.mark.parametrize("answer", [b"", b"+", b"x" * 100_000])
def test_ping_waits_no_longer_than_it_may(answer, capsys):
    """For a server that accepts and says nothing, or never comes to an end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = threading.Thread(target=_trickle, args=(listener, answer), daemon=True)
        peer.start()
        begin = time.monotonic()
        assert cli.main(["ping", "-p", str(listener.getsockname()[1]), "--timeout", "0.5"]) == 1
        assert time.monotonic() - begin < 1.5
        peer.join(5)
    assert "mpkv ping: " in capsys.readouterr().err


def _trickle(listener, answer):
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        for _ in range(40):
            connection.sendall(answer)
            time.sleep(0.05)


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
