"""``python -m mpkv`` is the same as ``mpkv``."""

import sys

from mpkv.cli import main

if __name__ == "__main__":
    sys.exit(main())
