from collections.abc import Sequence

from mpkv.shm.layout import Shape

class SegmentError(Exception): ...

class Segment:
    fd: int
    shape: Shape
    command_names: tuple[str, ...]
    hash_seed: bytes
    run_id: str
    start_time_ms: int
    @staticmethod
    def create(
        workers: int,
        commands: Sequence[str],
        *,
        databases: int = 16,
        intents_bytes: int = ...,
        pool_bytes: int = ...,
    ) -> Segment: ...
    @staticmethod
    def attach(fd: int) -> Segment: ...
    def area(self, name: str) -> memoryview: ...
    def close(self) -> None: ...
