"""CONFIG GET and CONFIG SET: the same answers as Redis, all or nothing, and observers that may refuse."""

import pytest

from mpkv import errors
from mpkv.config import Config
from mpkv.errors import CommandError

#: Sequences of pairs, each sent to both; the replies must be the same text.
SETS = [
    ["nope", "1"],
    ["hz", "20", "nope", "1"],
    ["databases", "3"],
    ["databases", "3", "nope", "1"],
    ["dir", "/tmp"],
    ["hz", "abc"],
    ["hz", ""],
    ["hz", "0"],
    ["hz", "1000"],
    ["hz", "10", "hz", "20"],
    ["replica-priority", "10", "slave-priority", "20"],
    ["maxmemory", "10xx"],
    ["maxmemory", "-1"],
    ["maxmemory", "1gb"],
    ["maxmemory-clients", "5%"],
    ["maxmemory-clients", "500%"],
    ["maxmemory-policy", "foo"],
    ["maxmemory-policy", "ALLKEYS-LRU"],
    ["appendfsync", "foo"],
    ["activerehashing", "maybe"],
    ["save", "60"],
    ["save", "60 -1"],
    ["save", "0 1"],
    ["save", "60 1 300 10"],
    ["save", ""],
    ["client-output-buffer-limit", "normal 1 2"],
    ["client-output-buffer-limit", "foo 1 2 3"],
    ["client-output-buffer-limit", "normal 1 2 -3"],
    ["client-output-buffer-limit", "master 1 2 3"],
    ["client-output-buffer-limit", "slave 1gb 2 3 pubsub 1k 2kb 3"],
    ["oom-score-adj-values", "1 2"],
    ["oom-score-adj-values", "1 2 a"],
    ["oom-score-adj-values", "1 2 3000"],
    ["notify-keyspace-events", "KEA"],
    ["notify-keyspace-events", "KExg$"],
    ["notify-keyspace-events", "Kmn"],
    ["notify-keyspace-events", "Q"],
    ["latency-tracking-info-percentiles", "50.0 99 99.99"],
    ["latency-tracking-info-percentiles", "101"],
    ["latency-tracking-info-percentiles", "abc"],
    ["latency-tracking-info-percentiles", ""],
    ["port", "70000"],
    ["dbfilename", "x"],
    ["enable-debug-command", "yes"],
    ["aclfile", "x"],
    ["unixsocketperm", "700"],
    ["replicaof", "127.0.0.1 1"],
    ["user", "x"],
    ["shutdown-on-sigterm", "save now"],
    ["shutdown-on-sigterm", "save nosave"],
    ["shutdown-on-sigterm", "save foo"],
    ["slowlog-log-slower-than", "-2"],
    ["slowlog-log-slower-than", "-1"],
    ["slowlog-max-len", "-1"],
    ["list-max-ziplist-size", "-5"],
    ["list-max-ziplist-size", "99999999999"],
    ["proto-max-bulk-len", "1"],
    ["proto-max-bulk-len", "2mb"],
    ["client-query-buffer-limit", "1"],
    ["repl-backlog-size", "0"],
    ["repl-backlog-size", "1"],
    ["maxclients", "0"],
    ["proc-title-template", "{foo}"],
    ["proc-title-template", "{title} {port}"],
    ["lfu-log-factor", "-1"],
    ["hash-max-listpack-entries", "9", "hash-max-ziplist-entries", "8"],
    ["tcp-keepalive", "3.5"],
    ["timeout", "0x10"],
    ["cluster-announce-hostname", "bad host"],
    ["acl-pubsub-default", "foo"],
    ["oom-score-adj", "foo"],
    ["auto-aof-rewrite-percentage", "-1"],
    ["stream-node-max-bytes", "-1"],
    ["requirepass", ""],
]


def our_reply(config: Config, words: list[str]) -> bytes:
    try:
        config.set(list(zip(words[::2], words[1::2], strict=True)))
    except CommandError as error:
        return f"-{error.text}\r\n".encode()
    return b"+OK\r\n"


def test_config_set_answers_as_redis_and_leaves_the_same_values(reference):
    config = Config.from_command_line(["--save"], {})
    for words in SETS:
        encoded = [word.encode() for word in words]
        assert our_reply(config, words) == reference.call([b"CONFIG", b"SET", *encoded]), words
        for name in words[::2]:
            pairs = reference.call([b"CONFIG", b"GET", name.encode()]).decode().split("\r\n")[2:-1:2]
            if name not in ("client-output-buffer-limit", "dir", "port"):
                assert [item for pair in config.get([name]).items() for item in pair] == pairs, words


def test_a_plain_name_is_answered_as_asked_and_a_glob_lists_aliases():
    config = Config()
    assert config.get(["SLAVE-Priority"]) == {"SLAVE-Priority": "100"}
    assert config.get(["*-PRIORITY"]) == {"replica-priority": "100", "slave-priority": "100"}
    assert config.get(["nope", "user", "include"]) == {}


def test_hidden_directives_are_shown_under_their_exact_name_only():
    config = Config()
    assert config.get(["debug-ignore-epoch"]) == {"debug-ignore-epoch": "no"}
    assert config.get(["debug-*", "watchdo[g]-period"]) == {}


def test_one_bad_pair_leaves_all_values_alone():
    config = Config()
    before = config.get(["*"])
    with pytest.raises(CommandError):
        config.set([("maxmemory", "1gb"), ("save", "1 2"), ("client-output-buffer-limit", "normal 1 1 1"), ("hz", "x")])
    assert config.get(["*"]) == before


def test_only_what_changed_is_reported_and_observed():
    config = Config()
    seen = []
    config.on_change("hz", lambda value: seen.append(("hz", value)))
    config.on_change("timeout", lambda value: seen.append(("timeout", value)))
    assert config.set([("hz", "20"), ("timeout", "0")]) == ["hz"]
    assert seen == [("hz", 20)]


def test_an_observer_that_refuses_puts_everything_back():
    config = Config()
    seen = []

    def refuse(value):
        if value == 7:
            raise OSError("Unable to listen on this port")

    config.on_change("hz", seen.append)
    config.on_change("port", refuse)
    with pytest.raises(CommandError) as caught:
        config.set([("hz", "20"), ("PORT", "7")])
    assert caught.value.text == (
        "ERR CONFIG SET failed (possibly related to argument 'PORT') - Unable to listen on this port"
    )
    assert (config.hz, config.port, seen) == (10, 6379, [20, 10])


def test_a_file_set_to_the_same_name_again_is_told_to_observers():
    config = Config()
    seen = []
    config.on_change("tls-cert-file", seen.append)
    config.set([("tls-cert-file", "a.pem")])
    assert config.set([("tls-cert-file", "a.pem")]) == []
    assert seen == ["a.pem", "a.pem"]


def test_protected_directives_can_be_set_when_that_is_enabled(tmp_path):
    config = Config.from_command_line(["--enable-protected-configs", "local"], {})
    with pytest.raises(CommandError, match="can't set protected config"):
        config.set([("dir", str(tmp_path))])
    assert config.set([("dir", str(tmp_path))], local=True) == ["dir"]


def test_while_loading_some_directives_are_refused_before_anything_else():
    config = Config()
    config.loading = True
    with pytest.raises(CommandError) as caught:
        config.set([("nope", "1"), ("appendonly", "yes")])
    assert caught.value.text == errors.LOADING.text
    assert config.set([("hz", "20")]) == ["hz"]


def test_line_ends_in_a_name_do_not_reach_the_reply():
    with pytest.raises(CommandError) as caught:
        Config().set([("a\r\nb", "1")])
    assert "\n" not in caught.value.text
