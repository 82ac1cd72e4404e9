"""SLOWLOG and LATENCY where nothing is slow: arguments, errors and empty replies, to replay over the wire.

What they say of slow commands depends on the clock: see tests/server/test_slowlog.py and test_latency.py.
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
    "settings of the latency monitor": [
        "CONFIG SET latency-monitor-threshold -1", "CONFIG SET latency-monitor-threshold x",
        "CONFIG GET latency-monitor-threshold", "CONFIG SET latency-tracking perhaps", "CONFIG GET latency-tracking",
    ],
}  # fmt: skip
