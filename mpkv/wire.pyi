CONTROLS: dict[int, str]
CONTROL_NUMBERS: dict[str, int]
SHOWN_WORDS: int
SHOWN_BYTES: int

def unclip(clipped: bytes) -> tuple[list[tuple[bytes, int]], int]: ...
