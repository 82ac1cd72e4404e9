"""`mpkv dashboards export`: the board for Grafana and the rules for Prometheus, as files to import."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

_METRICS: Final = Path(__file__).parent.parent

BOARD: Final = _METRICS / "grafana" / "mpkv.json"
RULES: Final = _METRICS / "prometheus_rules" / "mpkv.yml"


def export(folder: Path) -> list[Path]:
    """Write the files into a folder, which is made if it is not there. Older ones of the same name are replaced.

    OSError if that is not possible; a file is whole, or as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_copy(file, folder / file.name) for file in (BOARD, RULES)]


def _copy(source: Path, target: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(source.read_bytes())
            # Readable for Grafana and Prometheus, which are other users; mkstemp lets nobody else read
            os.fchmod(descriptor, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
    return target
