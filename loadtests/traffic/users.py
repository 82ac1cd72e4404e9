"""Who uses a server, and how: one class for each way, named in the profiles of `plan`.

The names of requests are what the report lists. Every answer is checked as far as it can be known.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import time
from typing import Any, ClassVar, Final

import hiredis
from locust import task

from traffic import contents
from traffic.contents import LEADERBOARD
from traffic.resp_connection import RespConnection
from traffic.resp_user import RespUser
from traffic.zipf import Zipf

SESSION_TTL_S: Final = 15
QUEUES: Final = 4
CHANNELS: Final = 8
#: Consumers that do not keep up with this many waiting elements are a failure of the test.
MOST_WAITING: Final = 10_000
PIPELINE_COMMANDS: Final = 16
_MESSAGE_BYTES: Final = 100
#: How long a consumer or a subscriber waits before it looks whether the test is over.
_PATIENCE_S: Final = 1


def _stamped() -> bytes:
    """A message that says when it was sent."""
    return b"%d=" % time.monotonic_ns() + b"m" * _MESSAGE_BYTES


def _queue(token: str, at: int) -> str:
    """The token as a hash tag: who waits on all queues waits on one shard, so a cluster may be tested too."""
    return f"queue:{{{token}}}:{at}"


def _sent_ns(message: bytes) -> int:
    return int(message.partition(b"=")[0])


class KeyedUser(RespUser):
    """Chooses among the plan's keys by Zipf's law."""

    abstract = True
    _zipf: ClassVar[dict[int, Zipf]] = {}

    def choose(self, count: int | None = None) -> int:
        """A number below `count`, by default the plan's number of keys; small ones are popular."""
        count = count or self.plan.keys
        if count not in self._zipf:
            self._zipf[count] = Zipf(count)
        return self._zipf[count].choose(self.chance)


class CacheUser(KeyedUser):
    """Ten reads to a write; a miss is filled."""

    @task(10)
    def get(self) -> None:
        key = contents.cache_key(self.choose())
        value = self.call("GET", "GET", key)
        if value is None:
            self.call("SET after a miss", "SET", key, contents.cache_value(key))
        elif value != contents.cache_value(key):
            self.wrong("GET", "the value of another key")

    @task(1)
    def set(self) -> None:
        key = contents.cache_key(self.choose())
        if self.call("SET", "SET", key, contents.cache_value(key)) != b"OK":
            self.wrong("SET", "no OK")


class SessionUser(KeyedUser):
    """Log in, be seen again and again, log out or be forgotten."""

    @task(2)
    def log_in(self) -> None:
        at = self.choose()
        key = contents.session_key(at)
        fields = contents.session_fields(at)
        self.pipe("session: log in", [("HSET", key, *fields), ("EXPIRE", key, SESSION_TTL_S)])

    @task(10)
    def look(self) -> None:
        at = self.choose()
        key = contents.session_key(at)
        found, _ = self.pipe("session: look", [("HGETALL", key), ("EXPIRE", key, SESSION_TTL_S)])
        user = dict(zip(found[::2], found[1::2], strict=True)).get(b"user")
        # the count of its visits may have come when it had just expired: then the user is not in it
        if user is not None and user != b"%d" % at:
            self.wrong("session: look", "the session of another user")

    @task(3)
    def visit(self) -> None:
        key = contents.session_key(self.choose())
        self.pipe("session: visit", [("HINCRBY", key, "visits", 1), ("EXPIRE", key, SESSION_TTL_S)])

    @task(1)
    def log_out(self) -> None:
        self.call("session: log out", "DEL", contents.session_key(self.choose()))


class LeaderboardUser(KeyedUser):
    """One sorted set that everybody writes to and looks at."""

    @task(5)
    def score(self) -> None:
        member = contents.member(self.choose(contents.MEMBERS))
        self.call("ZINCRBY", "ZINCRBY", LEADERBOARD, self.chance.randrange(-5, 6), member)

    @task(3)
    def look_at_the_top(self) -> None:
        reply = self.call("ZREVRANGE", "ZREVRANGE", LEADERBOARD, 0, 9, "WITHSCORES")
        scores = [float(score) for score in reply[1::2]]
        if scores != sorted(scores, reverse=True):
            self.wrong("ZREVRANGE", "the scores do not fall")

    @task(2)
    def look_for_oneself(self) -> None:
        member = contents.member(self.choose(contents.MEMBERS))
        rank, score = self.pipe("ZREVRANK + ZSCORE", [
            ("ZREVRANK", LEADERBOARD, member), ("ZSCORE", LEADERBOARD, member),
        ])  # fmt: skip
        if (rank is None) != (score is None):
            # another user may have added it between the two
            self.recheck(member)

    def recheck(self, member: bytes) -> None:
        """Ask in one transaction, where nobody can come in between."""
        replies = self.pipe("ZREVRANK + ZSCORE", [
            ("MULTI",), ("ZREVRANK", LEADERBOARD, member), ("ZSCORE", LEADERBOARD, member), ("EXEC",),
        ])  # fmt: skip
        rank, score = replies[-1]
        if (rank is None) != (score is None):
            self.wrong("ZREVRANK + ZSCORE", "a rank without a score, or the other way round")


class ProducerUser(RespUser):
    """Puts work into queues."""

    @task
    def push(self) -> None:
        queue = _queue(self.plan.token, self.chance.randrange(QUEUES))
        if self.call("LPUSH", "LPUSH", queue, _stamped()) > MOST_WAITING:
            self.call("queue: given up", "DEL", queue)
            self.wrong("LPUSH", "the consumers do not keep up")


class ConsumerUser(RespUser):
    """Waits for work on all queues at once."""

    paced = False

    @task
    def pop(self) -> None:
        queues = [_queue(self.plan.token, at) for at in range(QUEUES)]
        self.chance.shuffle(queues)
        connection = self.connected()
        try:
            found = connection.call("BRPOP", *queues, _PATIENCE_S)
        except hiredis.ReplyError as error:
            self.refused("queue: delivery", error)
        except (OSError, hiredis.ProtocolError) as error:
            self.lost("queue: delivery", error)
        if found is not None:
            self.delivered("queue: delivery", _sent_ns(found[1]), len(found[1]))


class PublisherUser(RespUser):
    """Sends messages; how many receive them is not known."""

    @task
    def publish(self) -> None:
        self.call("PUBLISH", "PUBLISH", f"news:{self.plan.token}:{self.chance.randrange(CHANNELS)}", _stamped())


class SubscriberUser(RespUser):
    """Listens to one channel for as long as the connection lasts."""

    paced = False
    _listening_on: RespConnection | None = None

    @task
    def listen(self) -> None:
        try:
            connection = self._subscribed()
            kind, _, message = connection.receive()
        except TimeoutError:
            return  # nobody has sent anything; whether the server is there shows in what the publishers see
        except hiredis.ReplyError as error:
            self.refused("pubsub: delivery", error)
        except (OSError, hiredis.ProtocolError) as error:
            self.lost("pubsub: delivery", error)
        if kind == b"message":
            self.delivered("pubsub: delivery", _sent_ns(message), len(message))

    def _subscribed(self) -> RespConnection:
        connection = self.connected()
        if connection is not self._listening_on:
            connection.call("SUBSCRIBE", f"news:{self.plan.token}:{self.chance.randrange(CHANNELS)}")
            connection.set_timeout(_PATIENCE_S)
            self._listening_on = connection
        return connection


class PipelineUser(KeyedUser):
    """Sixteen commands at a time, half of them writes."""

    @task
    def pipeline(self) -> None:
        keys = [contents.cache_key(self.choose()) for _ in range(PIPELINE_COMMANDS // 2)]
        commands: list[tuple[Any, ...]] = []
        for key in keys:
            commands += [("SET", key, contents.cache_value(key)), ("GET", key)]
        replies = self.pipe("pipeline of 16", commands)
        if replies[1::2] != [contents.cache_value(key) for key in keys]:
            self.wrong("pipeline of 16", "not what was written just before")


class LargeUser(KeyedUser):
    """Values of 64 KiB to 1 MiB."""

    @task(3)
    def get(self) -> None:
        key = contents.large_key(self.choose(contents.LARGE_KEYS))
        value = self.call("GET (large)", "GET", key)
        if value not in (None, contents.large_value(key)):
            self.wrong("GET (large)", "not what was written")

    @task(1)
    def set(self) -> None:
        key = contents.large_key(self.choose(contents.LARGE_KEYS))
        self.call("SET (large)", "SET", key, contents.large_value(key))

    @task(1)
    def get_a_part(self) -> None:
        key = contents.large_key(self.choose(contents.LARGE_KEYS))
        begin = self.chance.randrange(32 * 1024)
        part = self.call("GETRANGE (large)", "GETRANGE", key, begin, begin + 1023)
        if part not in (b"", contents.large_value(key)[begin : begin + 1024]):
            self.wrong("GETRANGE (large)", "not what was written")


class NewcomerUser(RespUser):
    """Comes with a new connection every time."""

    @task
    def come_and_go(self) -> None:
        self.disconnect()
        if self.call("connect + PING", "PING") != b"PONG":
            self.wrong("connect + PING", "no PONG")
