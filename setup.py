"""Builds the compiled modules: every .pyx below mpkv/ is an extension of the same dotted name.

MPKV_DEBUG=1          builds with bounds checks, assertions and no optimisation (`make debug`)
MPKV_SANITIZE=1       builds for AddressSanitizer and UBSan, whose libraries must be preloaded (`make sanitize`)
MPKV_BUILD_ONLY=a,b   builds only the named .pyx files (a developer's shortcut); with nothing named, none
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("MPKV_DEBUG") == "1"
SANITIZE = os.environ.get("MPKV_SANITIZE") == "1"
ONLY = os.environ.get("MPKV_BUILD_ONLY")

if ONLY is None:
    sources = sorted(str(path) for path in Path("mpkv").rglob("*.pyx"))
else:
    sources = [name for name in ONLY.split(",") if name]

# The first error that a sanitizer sees ends the process. Who divides memory may touch what is free in it
DIVIDE_MEMORY = ["mpkv/types/allocator.pyx", "mpkv/types/heap.pyx"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
if SANITIZE:
    compile_args = ["-O1", "-g1", "-fno-strict-aliasing", "-DMPKV_SANITIZE", *SANITIZERS]
elif DEBUG:
    compile_args = ["-O0", "-g"]
else:
    compile_args = ["-O2", "-g1", "-fno-strict-aliasing"]

extensions = [
    Extension(
        source.removesuffix(".pyx").replace("/", "."),
        [source],
        depends=["mpkv/types/sanitize.h"] if source in DIVIDE_MEMORY else [],
        extra_compile_args=compile_args + (["-fno-sanitize=address"] if SANITIZE and source in DIVIDE_MEMORY else []),
        extra_link_args=SANITIZERS if SANITIZE else [],
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
