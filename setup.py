"""Builds the compiled modules: every .pyx below mpkv/ is an extension of the same dotted name.

MPKV_DEBUG=1          builds with bounds checks, assertions and no optimisation (`make debug`)
MPKV_BUILD_ONLY=a,b   builds only the named .pyx files (a developer's shortcut); with nothing named, none
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("MPKV_DEBUG") == "1"
ONLY = os.environ.get("MPKV_BUILD_ONLY")

if ONLY is None:
    sources = sorted(str(path) for path in Path("mpkv").rglob("*.pyx"))
else:
    sources = [name for name in ONLY.split(",") if name]
extensions = [
    Extension(
        source.removesuffix(".pyx").replace("/", "."),
        [source],
        extra_compile_args=["-O0", "-g"] if DEBUG else ["-O2", "-g1", "-fno-strict-aliasing"],
    )
    for source in sources
]

CORES = os.cpu_count() or 1 if len(sources) > 1 else 1

setup(
    options={"build_ext": {"parallel": CORES}},
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
        nthreads=CORES,
        quiet=True,
    ),
)
