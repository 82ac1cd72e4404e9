from collections.abc import Callable, Sequence

from mpkv.frontend.pending import LinkFault as LinkFault
from mpkv.frontend.pending import Receiver
from mpkv.shm.blobs import Pool
from mpkv.shm.ring import Ring

HIGH_WATER_MARK: int

def link_generation(epoch: int, incarnation: int) -> int: ...

class Clock: ...

class Link:
    shard: int
    up: bool
    incarnation: int | None
    sent_bytes: int
    received_bytes: int
    batches_out: int
    batches_in: int
    discarded: int
    in_flight_bytes: int
    in_flight_limit: int
    def __init__(
        self,
        shard: int,
        clock: Clock,
        on_event: Callable[[Link, bytes], object],
        in_flight_limit: int = ...,
        pages: Pool | None = None,
        large: int = ...,
    ) -> None: ...
    def open(
        self,
        endpoint: str,
        epoch: int,
        incarnation: int,
        requests: Ring | None = None,
        replies: Ring | None = None,
        pages: Pool | None = None,
    ) -> int: ...
    def close(self) -> None: ...
    def forget_executed(self, executing: int) -> int: ...
    def resend(self) -> int: ...
    def flush_now(self) -> int: ...
    def retry(self) -> int: ...
    def hello(self, receiver: Receiver) -> None: ...
    def control(self, message: int, number: int, words: Sequence[bytes], receiver: Receiver) -> None: ...
    def attend(self) -> None: ...
    def drain_rest(self) -> None: ...
    @property
    def queue_bytes(self) -> int: ...
    @property
    def waiting(self) -> int: ...
