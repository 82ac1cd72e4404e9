"""Builds the compiled modules: every .pyx below mpkv/ is an extension of the same dotted name.

MPKV_DEBUG=1          builds with bounds checks, assertions and no optimisation (`make debug`)
MPKV_BUILD_ONLY=a,b   builds only the named .pyx files (a developer's shortcut)
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("MPKV_DEBUG") == "1"
ONLY = [name for name in os.environ.get("MPKV_BUILD_ONLY", "").split(",") if name]

sources = ONLY or sorted(str(path) for path in Path("mpkv").rglob("*.pyx"))
extensions = [
    Extension(
        source.removesuffix(".pyx").replace("/", "."),
        [source],
        extra_compile_args=["-O0", "-g"] if DEBUG else ["-O2", "-g1", "-fno-strict-aliasing"],
    )
    for source in sources
]

setup(
    ext_modules=cythonize(
        extensions,
        compiler_directives={
            "language_level": "3",
            "boundscheck": True,
            "wraparound": True,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "embedsignature": True,
        },
        # One cythonize process per core; the C compiler is the slow part.
        nthreads=1 if ONLY else (os.cpu_count() or 1),
        quiet=True,
    )
)
