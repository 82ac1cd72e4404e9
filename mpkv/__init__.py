"""mpkv: a Redis-compatible key-value server that uses every core."""

__version__ = "0.1.0"

#: What INFO and HELLO report as the version of Redis whose behaviour is implemented.
REDIS_VERSION = "7.2.6"
