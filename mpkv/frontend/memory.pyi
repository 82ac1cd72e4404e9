from mpkv.shm.board import Block

class MemoryWatch:
    limit: int
    is_full: bool
    is_over: bool
    def __init__(self, blocks: list[Block]) -> None: ...
    def configure(self, limit: int, policy: str) -> None: ...
