"""``python -m mpkv.commands``: the command table – where each runs, how many words it takes, where its keys are."""

from __future__ import annotations

from mpkv.commands import spec
from mpkv.commands.spec import Command, Flag, Keys


def where(command: Command) -> str:
    """The message class: 0 frontend, 1 one shard, S several at once."""
    if not command.on_shard:
        return "0"
    return "S" if command.across else "1"


def places(keys: Keys) -> str:
    """first:last:step of its keys, and the word that counts them."""
    found = f"{keys.first}:{keys.last}:{keys.step}" if keys.first else ""
    return f"{found} count@{keys.count_at}".strip() if keys.count_at else found or "-"


def flags(command: Command) -> str:
    return ",".join(str(flag.name).lower() for flag in Flag if flag in command.flags) or "-"


def main() -> None:
    """Print one line for each command, in order of numbers."""
    for command in spec.load().values():
        if command.handler is not spec.container_handler:
            print(
                f"{command.number:3} {command.name:24} {where(command)} {command.arity:3} {places(command.keys):12} "
                f"{flags(command)}"
            )


if __name__ == "__main__":
    main()
