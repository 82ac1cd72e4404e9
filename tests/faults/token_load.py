"""Load that shows a tear, and the servers that faults are brought upon.

Every writer gives one token to all keys at once, with MSET or with MULTI … EXEC; the keys lie on all shards. A reader
that sees two tokens in one MGET has seen a torn write. Writers and readers connect again when their connection ends, as
clients do; a connection that is refused is counted, since that must not happen while the supervisor lives.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from mpkv.resp.decoder import decode
from mpkv.sharding import shard_of
from mpkv.testing import Server
from tests.helpers.reference import pack_request, read_reply
from tests.helpers.running import leaving_nothing

SHARDS = 4
#: How many times as long as by default: ``make faults`` runs more rounds.
ROUNDS = int(os.environ.get("MPKV_FAULT_ROUNDS", "1"))
#: A process that was killed is back, on a busy machine too.
BACK_S = 20.0

#: What all tests of the session did, for the report at its end.
totals: Counter[str] = Counter()


def key_on(shard: int, name: str = "token") -> bytes:
    """A key that lies on this shard."""
    candidates = (f"{name}:{number}".encode() for number in itertools.count())
    return next(key for key in candidates if shard_of(key, SHARDS) == shard)


#: Three on each shard, in an order in which neighbours are on different shards.
KEYS = [key_on(shard, f"token{copy}") for copy in range(3) for shard in range(SHARDS)]


@contextmanager
def faulty_server(**directives: object) -> Iterator[Server]:
    """A server of four shards that leaves no process, no socket and no temporary file behind, whatever befalls it."""
    with leaving_nothing(SHARDS, **directives) as server:
        yield server
        server.stop()
        assert temporary_files(server) == []


def temporary_files(server: Server) -> list[str]:
    """What a snapshot has left in the server's data folder."""
    return sorted(path.name for path in server.dir.glob("temp-*"))


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = BACK_S) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {timeout_s} s"
        time.sleep(0.01)


def kill(server: Server, role: str, number: int = 9) -> int:
    """Send a signal to a process, SIGKILL unless told otherwise, as soon as there is one of this role; its id."""
    wait_until(lambda: role in server.processes(), f"there is a process {role}")
    totals["kills"] += number == 9
    return server.kill(number, role)


class Client:
    """One connection; replies come decoded, errors as values."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection((server.host, server.port), timeout=BACK_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")

    def call(self, *words: bytes | str | int) -> object:
        """Send a request; EOFError or OSError if the connection ends instead of an answer."""
        self.send(*words)
        return self.receive()

    def send(self, *words: bytes | str | int) -> None:
        """Send without waiting for the answer, which `receive` takes."""
        self._socket.sendall(pack_request([_encoded(word) for word in words]))

    def send_much(self, *words: bytes | str | int, times: int) -> None:
        """Send a request so often, or until the server takes no more."""
        request = pack_request([_encoded(word) for word in words])
        self._socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            for _ in range(times):
                self._socket.sendall(request)

    def receive(self) -> object:
        return decode(read_reply(self._stream))[0]

    def answered_within(self, timeout_s: float) -> bool:
        """Whether there is something to receive."""
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def set_all(self, token: bytes) -> object:
        return self.call(b"MSET", *(word for key in KEYS for word in (key, token)))

    def set_all_in_transaction(self, token: bytes) -> object:
        requests: list[list[bytes]] = [[b"MULTI"], *([b"SET", key, token] for key in KEYS), [b"EXEC"]]
        self._socket.sendall(b"".join(map(pack_request, requests)))
        return [self.receive() for _ in requests][-1]

    def tokens(self) -> set[object]:
        """What all keys hold: one element unless a write was torn."""
        values = self.call(b"MGET", *KEYS)
        assert isinstance(values, list), values
        return set(values)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


def _encoded(word: bytes | str | int) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


def loses_connection(client: Client, *words: bytes | str | int) -> bool:
    """Whether the connection ends instead of a reply."""
    try:
        client.call(*words)
    except (EOFError, ConnectionError):
        return True
    return False


def last_numbers(client: Client) -> list[int]:
    """The last sequence number that each shard has executed."""
    shards = client.call("DEBUG", "SHARDS")
    assert isinstance(shards, list), shards
    return [dict(zip(pairs[::2], pairs[1::2], strict=True))[b"last_number"] for pairs in shards]


class TokenLoad:
    """Writers and readers in threads, while the block runs.

    :param spared: shards whose keys are not looked at: a worker that dies takes its shard back to the last snapshot
    """

    def __init__(self, server: Server, *, writers: int = 3, readers: int = 2, spared: Sequence[int] = ()) -> None:
        self.server = server
        self.tears: list[list[object]] = []
        self.refused = 0
        self.writes = 0
        self.reads = 0
        self.errors: Counter[str] = Counter()
        self._looked_at = [key for key in KEYS if shard_of(key, SHARDS) not in spared]
        self._stop = threading.Event()
        self._tokens = itertools.count()
        jobs = [self._write, self._write_in_transaction]
        self._threads = [threading.Thread(target=self._work, args=(jobs[index % 2],)) for index in range(writers)]
        self._threads += [threading.Thread(target=self._work, args=(self._read,)) for _ in range(readers)]

    def __enter__(self) -> Self:
        Client(self.server).set_all(b"first")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        totals.update(writes=self.writes, reads=self.reads, tears=len(self.tears))
        if self.server.is_running:
            totals["refused"] += self.refused

    def go_on(self, operations: int = 50) -> None:
        """Let so many more writes and reads be answered."""
        writes, reads = self.writes + operations, self.reads + operations
        wait_until(lambda: self.writes > writes and self.reads > reads, "the load goes on")

    def _work(self, job: Callable[[Client], None]) -> None:
        while not self._stop.is_set():
            try:
                client = Client(self.server)
            except ConnectionRefusedError:
                self.refused += 1
                time.sleep(0.01)
                continue
            except OSError:
                continue
            try:
                while not self._stop.is_set():
                    job(client)
            except (EOFError, OSError):
                pass  # its frontend has died, or its worker with the outcome unknown
            finally:
                client.close()

    def _write(self, client: Client) -> None:
        self._note_write(client.set_all(b"mset-%d" % next(self._tokens)))

    def _write_in_transaction(self, client: Client) -> None:
        token = b"exec-%d" % next(self._tokens)
        self._note_write(client.set_all_in_transaction(token))

    def _note_write(self, reply: object) -> None:
        if isinstance(reply, Exception):
            self.errors[str(reply)] += 1
            time.sleep(0.01)
        else:
            self.writes += 1

    def _read(self, client: Client) -> None:
        values = client.call(b"MGET", *self._looked_at)
        if isinstance(values, list):
            self.reads += 1
            if len(set(values)) > 1:
                self.tears.append(values)
        else:
            self.errors[str(values)] += 1
            time.sleep(0.01)
