"""SLOWLOG and LATENCY where nothing is slow, MEMORY where it does not say how much: arguments, errors and empty
replies, to replay over the wire.

What they say otherwise depends on the clock and on the allocator: see tests/server/test_slowlog.py, test_latency.py and
test_memory.py.
"""

from typing import Final

from tests.helpers.doors import Request

CASES: Final[dict[str, list[Request]]] = {
    "slow log that is off": [
        "CONFIG SET slowlog-log-slower-than -1", "SLOWLOG RESET", "SET k v", "SLOWLOG LEN", "SLOWLOG GET",
        "SLOWLOG GET 0", "SLOWLOG GET -1", "CONFIG SET slowlog-log-slower-than 10000",
    ],
    "slow log with wrong arguments": [
        "SLOWLOG", "SLOWLOG NOSUCH", "SLOWLOG GET -2", "SLOWLOG GET x", "SLOWLOG GET 1.0", "SLOWLOG GET 1 2",
        ["SLOWLOG", "GET", ""], "SLOWLOG GET 99999999999999999999", "SLOWLOG LEN 1",
        "SLOWLOG RESET 1", "SLOWLOG HELP x",
    ],
    "settings of the slow log": [
        "CONFIG SET slowlog-max-len -1", "CONFIG SET slowlog-max-len x", "CONFIG SET slowlog-log-slower-than -2",
        "CONFIG SET slowlog-log-slower-than x", "CONFIG SET slowlog-max-len 9223372036854775807",
        "CONFIG SET slowlog-log-slower-than 9223372036854775807", "CONFIG GET slowlog-max-len",
        "CONFIG GET slowlog-log-slower-than", "CONFIG SET slowlog-max-len 128 slowlog-log-slower-than 10000",
        "CONFIG GET slowlog-max-len", "CONFIG GET slowlog-log-slower-than",
    ],
    "latency monitor without events": [
        "LATENCY LATEST", "LATENCY HISTORY command", "LATENCY HISTORY nosuch", "LATENCY RESET",
        "LATENCY RESET command nosuch", "LATENCY GRAPH command", ["LATENCY", "GRAPH", "no\r\nsuch"],
        "LATENCY HISTOGRAM nosuch", ["LATENCY", "HISTOGRAM", ""], "LATENCY HELP",
    ],
    "latency with wrong arguments": [
        "LATENCY", "LATENCY NOSUCH", "LATENCY LATEST 1", "LATENCY HISTORY", "LATENCY HISTORY a b", "LATENCY GRAPH",
        "LATENCY GRAPH a b", "LATENCY DOCTOR x", "LATENCY HELP x", "latency history",
    ],
    "memory of a key that is not there": [
        "MEMORY USAGE missing", "MEMORY USAGE missing SAMPLES 0", "memory usage missing samples 7 SAMPLES 3",
        "MEMORY USAGE missing SAMPLES 9223372036854775807", "MULTI", "MEMORY USAGE missing", "MEMORY PURGE", "EXEC",
    ],
    "memory with wrong arguments": [
        "MEMORY", "MEMORY NOSUCH", "MEMORY USAGE", "MEMORY USAGE missing SAMPLES", "MEMORY USAGE missing SAMPLES x",
        "MEMORY USAGE missing SAMPLES -1", "MEMORY USAGE missing SAMPLES 9223372036854775808", "MEMORY USAGE missing 5",
        "MEMORY USAGE missing ALL 5", "MEMORY USAGE missing SAMPLES 5 6", "SET k v", "MEMORY USAGE k SAMPLES x",
        "MEMORY USAGE k ALL", "MEMORY STATS x", "MEMORY DOCTOR x", "MEMORY MALLOC-STATS x", "MEMORY PURGE",
        "MEMORY PURGE x", "MEMORY HELP", "MEMORY HELP x",
    ],
    "settings of the latency monitor": [
        "CONFIG SET latency-monitor-threshold -1", "CONFIG SET latency-monitor-threshold x",
        "CONFIG GET latency-monitor-threshold", "CONFIG SET latency-tracking perhaps", "CONFIG GET latency-tracking",
    ],
}  # fmt: skip
