from collections.abc import Callable
from typing import Any

LOST: bytes

class Receiver: ...

class Answer(Receiver):
    def __init__(self, callback: Callable[[int | None, bytes], object]) -> None: ...

class Gather(Receiver):
    on_done: Callable[[], object] | None

class Exec(Receiver):
    members: list[Any]
    on_done: Callable[[], object] | None
    complete: Callable[[list[Any]], bytes] | None
    delivered: Callable[[], object] | None
    def __init__(self, target: Receiver, index: int, protocol: int, commands: int) -> None: ...
    def member(self) -> Receiver: ...
    def add_part(self, receivers: list[tuple[Receiver | None, int]]) -> int: ...
    def finish_empty(self) -> None: ...
