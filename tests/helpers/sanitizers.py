"""What tests must know of the build that they run on: `make sanitize` runs them with sanitizers preloaded."""

from __future__ import annotations

import os

import pytest

SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
#: Else every piece of memory is malloc's, see mpkv/types/sanitize.h.
OWN_MEMORY = not SANITIZED or os.environ.get("MPKV_OWN_MEMORY") == "1"

only_sanitized = pytest.mark.skipif(not SANITIZED, reason="the compiled modules are not built for sanitizers")
not_sanitized = pytest.mark.skipif(SANITIZED, reason="a sanitizer takes time and memory of its own")
#: Of what the allocator takes from the system, and how it divides it.
needs_own_memory = pytest.mark.skipif(not OWN_MEMORY, reason="all memory is malloc's")


def foreign_environment() -> dict[str, str]:
    """For programs that are not ours: without the sanitizers."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
