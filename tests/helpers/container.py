"""A real systemd, booted in a container whose root is this machine's, thrown away afterwards.

The container has no network but its loopback, and sees the checkout, the interpreter and its packages read-only below
/opt: the units' own protection hides the homes, where they may live. It ends by itself when its target is through; what
it found it leaves in `/out`.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0

_boots = itertools.count()

#: In the container.
CHECKOUT, PYTHON, PACKAGES = "/opt/mpkv", "/opt/mpkv-python", "/opt/mpkv-packages"

#: The container's systemd makes its groups below the one it finds itself in: in that of another container, each would
#: wait for the other's processes to end. So every boot has one of its own.
BOOT = """
for group in $GROUPS_OF_ITS_OWN; do echo $$ >"$group/cgroup.procs"; done
mount --bind / "$SCRATCH"
exec systemd-nspawn -D "$SCRATCH" --volatile=overlay --register=no --keep-unit --private-network --link-journal=no \
    -M "$MACHINE" --console=pipe --quiet "$@" --boot -- --unit="$TARGET"
"""


def obstacle() -> str:
    """Why there can be no boot here."""
    if os.getuid() != 0:
        return "only root may boot a container"
    for program in ("systemd-nspawn", "unshare", "systemd-analyze"):
        if shutil.which(program) is None:
            return f"there is no {program} (Debian: systemd-container, util-linux, systemd)"
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False)
    return f"no mounts may be made here: {probe.stderr.strip()}" if probe.returncode else ""


def control_groups(name: str) -> list[Path]:
    """New groups below our own, in the hierarchies in which a systemd keeps its units; none where none may be made."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, of_type = line.partition(" - ")
        kind, _, options = of_type.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
            mounts["" if kind == "cgroup2" else "name=systemd"] = Path(fields.split()[4])
    groups = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, hierarchy, path = line.split(":", 2)
        if hierarchy in mounts:
            group = mounts[hierarchy] / path.lstrip("/") / name
            if os.access(group.parent, os.W_OK):
                group.mkdir()
                groups.append(group)
    return groups


def remove_groups(groups: list[Path]) -> None:
    """What nobody is in any more, from the leaves up; the last process may take a moment to leave."""
    for group in groups:
        for path in sorted((Path(folder) for folder, _, _ in os.walk(group)), reverse=True):
            end = time.monotonic() + WAIT_S
            while True:
                try:
                    path.rmdir()
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > end:
                        raise
                    time.sleep(0.05)


def wrapper(path: Path, arguments: str) -> None:
    """A program that runs the interpreter of this test in the container."""
    program = f"{PYTHON}/bin/{Path(os.path.realpath(sys.executable)).name}"
    path.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={CHECKOUT}:{PACKAGES} LD_LIBRARY_PATH={PYTHON}/lib PYTHONDONTWRITEBYTECODE=1\n"
        f'exec {program} {arguments} "$@"\n'
    )
    path.chmod(0o755)


def boot(scratch: Path, target: str, binds: dict[Path, str], timeout_s: float) -> tuple[Path, str]:
    """Boot into a target and wait until the container has ended.

    `scratch/units` holds the units, beside those of this machine; ``mpkv`` is installed as /usr/bin/mpkv.

    :param binds: further files and folders, outside -> inside, read-only
    :returns: the folder that was /out, and what the console said
    """
    units, out, root = scratch / "units", scratch / "out", scratch / "root"
    for path in (units, out, root):
        path.mkdir(parents=True, exist_ok=True)
    wrapper(scratch / "mpkv", "-m mpkv")
    wrapper(scratch / "python", "")
    every = {
        units: "/run/systemd/system", ROOT: CHECKOUT, Path(sys.base_prefix): PYTHON,
        Path(sysconfig.get_path("platlib")): PACKAGES, scratch / "mpkv": "/usr/bin/mpkv",
        scratch / "python": "/usr/bin/mpkv-ci-python", **binds,
    }  # fmt: skip
    words = [f"--bind-ro={outside}:{inside}" for outside, inside in every.items()]
    machine = f"mpkv-ci-{os.getpid()}-{next(_boots)}"
    groups = control_groups(machine)
    command = ["unshare", "-m", "--propagation", "private", "sh", "-euc", BOOT, "boot", *words, f"--bind={out}:/out"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "SCRATCH": str(root), "MACHINE": machine, "TARGET": target,
             "GROUPS_OF_ITS_OWN": " ".join(map(str, groups))},
        start_new_session=True, text=True, errors="replace",
    )  # fmt: skip
    try:
        console, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        console, _ = process.communicate()
    # Where /run is on a disk, systemd-nspawn leaves an empty folder there
    for left in Path("/run/systemd/nspawn/propagate").glob(machine):
        left.rmdir()
    remove_groups(groups)
    return out, f"status {process.returncode}\n{console}"
