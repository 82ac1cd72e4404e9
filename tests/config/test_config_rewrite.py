"""CONFIG REWRITE: what people wrote stays, what changed is in its place, what is new is below the marker."""

import os
from pathlib import Path

import pytest

from mpkv.config import Config
from mpkv.config_rewrite import MARKER
from mpkv.errors import CommandError

FILE = """\
# my server
port 7911

# memory
maxmemory 100mb


save 60 1
slave-priority 50
save 300 10
include other.conf
user alice on >secret +@all
rename-command FLUSHALL ""
port 7912
nonsense 1 2
hz 10
"""


@pytest.fixture
def config(tmp_path) -> Config:
    path = tmp_path / "mpkv.conf"
    path.write_text(FILE.replace("nonsense 1 2\n", "").replace("include other.conf\n", ""))
    config = Config.from_command_line([str(path)], {})
    path.write_text(FILE)
    return config


def written(config: Config) -> str:
    config.rewrite()
    return Path(config.file).read_text()


def test_a_file_is_brought_up_to_date_and_otherwise_left_alone(config):
    config.set([("maxmemory", "1gb"), ("save", "5 6"), ("requirepass", 'a "b'), ("replica-priority", "60")])
    text = written(config)
    assert (
        text
        == f"""\
# my server
port 7912

# memory
maxmemory 1gb

save 5 6
replica-priority 60

include other.conf
user alice on >secret +@all
rename-command FLUSHALL ""

# ??? nonsense 1 2
hz 10

{MARKER}
requirepass "a \\"b"
dir "{os.getcwd()}"
"""
    )


def test_what_was_written_reads_back_and_writing_again_changes_nothing(config):
    config.set([("client-output-buffer-limit", "pubsub 1k 2kb 3"), ("save", ""), ("bind", "127.0.0.1 -::1")])
    config.set([("notify-keyspace-events", "KEA"), ("maxmemory-clients", "5%"), ("shutdown-on-sigterm", "now")])
    first = written(config)
    with open(config.file, "w") as file:
        file.write(first.replace("include other.conf\n", ""))
    again = Config.from_command_line([config.file], {})
    assert again.get(["*"]) == config.get(["*"])
    assert written(again) == first.replace("include other.conf\n", "")
    assert first.count(MARKER) == 1


def test_a_value_set_back_to_its_default_stays_where_it_stood(config):
    config.set([("maxmemory", "0"), ("timeout", "5")])
    text = written(config)
    assert "\nmaxmemory 0\n" in text
    config.set([("timeout", "0")])
    assert "\ntimeout 0\n" in written(config)


def test_only_the_buffer_limits_that_differ_are_added(config):
    config.set([("client-output-buffer-limit", "slave 1mb 2mb 3")])
    lines = [line for line in written(config).splitlines() if line.startswith("client-output")]
    assert lines == ["client-output-buffer-limit replica 1mb 2mb 3"]


def test_a_missing_file_is_created_and_readable_by_others(config):
    os.unlink(config.file)
    config.set([("timeout", "5")])
    umask = os.umask(0o027)
    try:
        assert "timeout 5\n" in written(config)
    finally:
        os.umask(umask)
    assert os.stat(config.file).st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(config, tmp_path):
    link = tmp_path / "link.conf"
    link.symlink_to(config.file)
    config.file = str(link)
    config.set([("timeout", "5")])
    assert "timeout 5\n" in written(config)
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.conf", "mpkv.conf"]


def test_without_a_file_it_is_refused():
    with pytest.raises(CommandError, match=r"^ERR The server is running without a config file$"):
        Config().rewrite()


def test_a_failure_leaves_the_file_as_it_was(config, monkeypatch):
    before = Path(config.file).read_text()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(CommandError, match=r"^ERR Rewriting config file: No space left on device$"):
        config.rewrite()
    assert Path(config.file).read_text() == before
    assert len(os.listdir(os.path.dirname(config.file))) == 1
