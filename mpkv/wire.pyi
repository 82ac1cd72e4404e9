CONTROLS: dict[int, str]
CONTROL_NUMBERS: dict[str, int]
