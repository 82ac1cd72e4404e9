"""Where settings come from: files, includes, environment, command line; their order; what is said about mistakes."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.config import Config, ConfigError, _cgroup_quota
from mpkv.config_syntax import quote, quote_if_needed, split_words


def load(*argv: str, **environ: str) -> Config:
    return Config.from_command_line(argv, environ)


@pytest.fixture
def conf(tmp_path):
    def write(text: str, name: str = "mpkv.conf") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("  a   b\t c ", ["a", "b", "c"]),
        (r'"a b" ' + r"'c d'", ["a b", "c d"]),
        (r'"\x41\n\t\\\"\q"', ['A\n\t\\"q']),
        (r"'it\'s' '\n'", ["it's", "\\n"]),
        (r'"\xc3\xa9"', ["é"]),
        ('""', [""]),
        ('pre"quoted"', ["prequoted"]),
    ],
)
def test_a_line_is_split_as_redis_does(line, words):
    assert split_words(line) == words


@pytest.mark.parametrize("line", ['"a', "'a", '"a"b', "'a'b", '"a\\'])
def test_unbalanced_quotes_are_refused(line):
    with pytest.raises(ValueError, match="Unbalanced quotes"):
        split_words(line)


@given(st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_a_quoted_word_reads_back(word):
    assert split_words(quote(word)) == [word]
    assert split_words(f"x {quote_if_needed(word)} y") == ["x", word, "y"]


def test_command_line_beats_environment_beats_file(conf):
    path = conf("port 1\ntimeout 1\nhz 11\n")
    config = load(path, "--port", "3", MPKV_PORT="2", MPKV_TIMEOUT="2")
    assert (config.port, config.timeout, config.hz, config.maxclients) == (3, 2, 11, 10000)


def test_the_last_of_two_lines_wins(conf):
    assert load(conf("port 1\nPORT 2\n")).port == 2


def test_save_lines_of_one_source_add_up_and_another_source_replaces_them(conf):
    path = conf("save 60 1\nsave 300 10 900 1\n")
    assert load(path).save == [(60, 1), (300, 10), (900, 1)]
    assert load(path, "--save", "5", "6", "--save", "7", "8").save == [(5, 6), (7, 8)]
    assert load(path, MPKV_SAVE="1 2 3 4").save == [(1, 2), (3, 4)]
    assert load(path, MPKV_SAVE="").save == []


def test_an_empty_save_in_between_forgets_what_came_before(conf):
    assert load(conf('save 60 1\nsave ""\nsave 5 6\n')).save == [(5, 6)]


def test_users_and_renamed_commands_collect_over_sources(conf):
    path = conf('user alice on +@all\nrename-command FLUSHALL ""\n')
    config = load(path, "--user", "bob", "off", "--rename-command", "KEYS", "K")
    assert config.user == [["alice", "on", "+@all"], ["bob", "off"]]
    assert config.rename_command == [["FLUSHALL", ""], ["KEYS", "K"]]


def test_a_buffer_limit_leaves_other_classes_alone():
    config = load("--client-output-buffer-limit", "slave", "1mb", "2k", "3")
    assert config.client_output_buffer_limit == {
        "normal": (1 << 30, 512 << 20, 60),
        "replica": (1 << 20, 2000, 3),
        "pubsub": (32 << 20, 8 << 20, 60),
    }


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--port", "7777"], ("port", 7777)),
        (["--port 7777"], ("port", 7777)),
        (["--save 60 1"], ("save", [(60, 1)])),
        (["--save", "60", "1"], ("save", [(60, 1)])),
        (["--save"], ("save", [])),
        (["--save", "--port", "1"], ("save", [])),
        (["--save", ""], ("save", [])),
        (["--save", "60 1"], ("save", [(60, 1)])),
        (["--bind", "127.0.0.1 ::1"], ("bind", ["127.0.0.1", "::1"])),
        (["--user", "bob", ">a b"], ("user", [["bob", ">a b"]])),
        (["--requirepass", "--port"], ("requirepass", "--port")),
        (["--requirepass", "a b"], ("requirepass", "a b")),
        (["--slowlog-log-slower-than", "-1"], ("slowlog_log_slower_than", -1)),
        (["--bind", "127.0.0.1", "-::1"], ("bind", ["127.0.0.1", "-::1"])),
        (["--bind", ""], ("bind", [])),
        (["--SLAVE-priority", "3"], ("replica_priority", 3)),
        (["--unixsocketperm", "770"], ("unixsocketperm", 0o770)),
        (["--maxmemory", "2G"], ("maxmemory", 2_000_000_000)),
        (["--maxmemory-clients", "5%"], ("maxmemory_clients", -5)),
        (["--replicaof", "localhost", "6379"], ("replicaof", ("localhost", 6379))),
        (["--notify-keyspace-events", "EKx$"], ("notify_keyspace_events", "$xKE")),
        (["--shutdown-on-sigterm", "now", "SAVE"], ("shutdown_on_sigterm", ["save", "now"])),
        (["--enable-debug-command", "local"], ("enable_debug_command", "local")),
    ],
)
def test_command_lines_are_read_as_redis_server_reads_them(argv, expected):
    assert getattr(load(*argv), expected[0]) == expected[1]


def test_what_pytest_redis_passes_is_accepted(tmp_path):
    argv = ["--daemonize", "no", "--rdbcompression", "yes", "--rdbchecksum", "no", "--appendonly", "no",
            "--databases", "8",
            "--timeout", "60", "--pidfile", "x.pid", "--unixsocket", "x.sock", "--dbfilename", "d.rdb", "--logfile",
            "x.log",
            "--loglevel", "notice", "--syslog-enabled", "no", "--bind", "127.0.0.1", "--port", "5", "--dir",
            str(tmp_path),
            "--requirepass", "secret", "--save 60 1"]  # fmt: skip
    config = load(*argv)
    assert (config.databases, config.rdbchecksum, config.save, config.dir) == (8, False, [(60, 1)], str(tmp_path))


def test_more_config_comes_from_stdin_between_file_and_options(conf, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("port 2\ntimeout 2\n"))
    config = load(conf("port 1\ntimeout 1\nhz 12\n"), "--port", "3", "-")
    assert (config.port, config.timeout, config.hz) == (3, 2, 12)


def test_includes_are_read_in_place_and_may_be_patterns(conf, tmp_path):
    conf("port 2\n", "a.inc")
    conf("port 3\ntimeout 3\n", "b.inc")
    path = conf(f"port 1\ninclude {tmp_path}/*.inc\ninclude {tmp_path}/nothing-*.inc\nhz 13\n")
    config = load(path)
    assert (config.port, config.timeout, config.hz) == (3, 3, 13)


def test_a_file_that_includes_itself_is_refused(conf, tmp_path):
    with pytest.raises(ConfigError, match="includes itself"):
        load(conf(f"include {tmp_path}/mpkv.conf\n"))


def test_an_included_file_must_exist_if_it_is_named(conf, tmp_path):
    with pytest.raises(ConfigError, match=r"other\.conf.*No such file"):
        load(conf(f"include {tmp_path}/other.conf\n"))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("port 1\n\n# x\nmaxmemmory 1\n", 4, "did you mean maxmemory"),
        ("port x\n", 1, "argument couldn't be parsed into an integer"),
        ("port 70000\n", 1, "argument must be between 0 and 65535 inclusive"),
        ("hz 010\n", 1, "argument couldn't be parsed into an integer"),
        ("port\n", 1, "wrong number of arguments"),
        ("port 1 2\n", 1, "wrong number of arguments"),
        ('logfile "a\n', 1, "Unbalanced quotes"),
        ("maxmemory 1xb\n", 1, "argument must be a memory value"),
        ("save 60\n", 1, "Invalid save parameters"),
        ("dbfilename a/b\n", 1, "can't be a path, just a filename"),
        ("dir /no/such/place\n", 1, "No such file or directory"),
        ("unixsocketperm 888\n", 1, "octal"),
        ("rename-command A\n", 1, "wrong number of arguments"),
    ],
)
def test_an_error_names_file_line_and_what_was_expected(conf, text, line, reason):
    path = conf(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert (caught.value.source, caught.value.line) == (path, line)
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_an_error_on_the_command_line_says_so():
    with pytest.raises(ConfigError) as caught:
        load("--port", "x")
    assert (caught.value.source, caught.value.directive) == ("command line", "port x")


def test_an_unused_directive_warns_only_if_it_is_changed():
    assert load("--io-threads", "1").warnings == []
    assert any("io-threads" in warning for warning in load("--io-threads", "4").warnings)


def test_an_unknown_variable_warns_and_what_kubernetes_sets_is_ignored():
    config = load(MPKV_PORT="tcp://10.0.0.1:6379", MPKV_SERVICE_HOST="10.0.0.1", MPKV_TRACE="1")
    assert config.port == 6379
    assert len(config.warnings) == 2


def test_another_process_gets_the_same_settings(conf):
    path = conf(
        'user a on\nuser b off\nrequirepass "\\xff\\x00x"\nsave 60 1 5 2\nbind ""\nmaxmemory-clients 7%\n'
        "replicaof h 1\n"
    )
    config = load(path, "--latency-tracking-info-percentiles", "50 99.99")
    copy = Config.from_json(config.to_json())
    hidden = {"warnings", "_observers"}
    assert {name: value for name, value in vars(copy).items() if name not in hidden} == {
        name: value for name, value in vars(config).items() if name not in hidden
    }
    assert copy.requirepass == "\udcff\0x"


def test_the_number_of_workers_is_as_said_or_at_least_one(monkeypatch):
    assert load("--workers", "5").worker_count() == 5
    monkeypatch.setattr("mpkv.config.usable_cores", lambda: 1)
    assert load().worker_count() == 1
    monkeypatch.setattr("mpkv.config.usable_cores", lambda: 8)
    assert load().worker_count() == 7


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/a\n", {"a/cpu.max": "max 100000"}, None),
        ("0::/not/mounted\n", {"cpu.max": "200000 100000"}, 2.0),
        ("3:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"}, 0.5),
        ("3:memory:/x\n", {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_quota_of_control_groups_is_found(tmp_path, membership, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    assert _cgroup_quota(str(tmp_path), str(tmp_path / "membership")) == quota
