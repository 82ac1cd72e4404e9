"""What a connection may say about itself: cases to replay over the wire (see `tests.helpers.differential`).

Without what differs from server to server by nature: versions, ids, addresses, times.
"""

from typing import Final

from tests.helpers.doors import Request

CASES: Final[dict[str, list[Request]]] = {
    "ping and echo": ["PING", "PING x", "ping", "PING x y", "ECHO x", "ECHO", "ECHO x y", ["ECHO", ""], ["PING",
    "a b"]],
    "databases": [
        "SELECT 0", "SELECT 15", "SET k v", "SELECT 16", "GET k", "SELECT -1", "SELECT x", "SELECT", "SELECT 1 2",
        "SELECT 99999999999999999999", ["SELECT", ""], "SELECT 0", "GET k",
    ],
    "names": [
        "CLIENT GETNAME", "CLIENT SETNAME worker-1", "CLIENT GETNAME", ["CLIENT", "SETNAME", "with blank"],
        "CLIENT GETNAME",
        ["CLIENT", "SETNAME", ""], "CLIENT GETNAME", "CLIENT SETNAME", ["CLIENT", "SETNAME", "new\nline"],
    ],
    "unknown commands": [
        "NOSUCH", "NOSUCH a", "NOSUCH a b c", "nosuch", ["NOSUCH", "x" * 200, "y"], ["no such"], ["", "a"],
        ["NO\r\nSUCH", "a\r\nb"],
        "CLIENT NOSUCH", "CONFIG NOSUCH a", "OBJECT NOSUCH", "CLIENT", "CONFIG", "OBJECT", "COMMAND NOSUCH",
        ["N" * 200], "DEBUG",
    ],
    "protocol versions": ["HELLO 1", "HELLO 4", "HELLO x", "HELLO 3 FOO", "HELLO 3 SETNAME", "HELLO 2 AUTH default"],
    "passwords": [
        "AUTH", "AUTH secret", "AUTH default secret", "AUTH nobody secret", "AUTH a b c",
    ],
    "replies off and on": [
        "CLIENT REPLY", "CLIENT REPLY FOO", "CLIENT REPLY ON", "PING",
    ],
    "unblocking and killing nobody": [
        "CLIENT UNBLOCK 999999", "CLIENT UNBLOCK x", "CLIENT UNBLOCK 999999 ERROR", "CLIENT UNBLOCK 999999 FOO",
        "CLIENT KILL ID 999999", "CLIENT KILL 1.2.3.4:5", "CLIENT KILL ID x", "CLIENT KILL FOO BAR",
        "CLIENT KILL TYPE FOO",
        "CLIENT NO-EVICT ON", "CLIENT NO-EVICT OFF", "CLIENT NO-EVICT FOO", "CLIENT PAUSE x", "CLIENT PAUSE 1 FOO",
        "CLIENT UNPAUSE",
    ],
    "subscriptions": [
        "SUBSCRIBE a", "SUBSCRIBE b", "UNSUBSCRIBE a", "PING", "PING x", "PSUBSCRIBE x*", "SUBSCRIBE",
        "PUNSUBSCRIBE x*", "PUNSUBSCRIBE none",
        "PUNSUBSCRIBE", "UNSUBSCRIBE b", "GET k", "UNSUBSCRIBE", "SSUBSCRIBE s", "SUNSUBSCRIBE s", "GET k",
    ],
    "publishing to nobody": [
        "PUBLISH c m", "PUBLISH c", "PUBSUB CHANNELS", "PUBSUB NUMSUB", "PUBSUB NUMSUB a b", "PUBSUB NUMPAT",
        "PUBSUB NOSUCH",
        "PUBSUB CHANNELS a b", "PUBSUB SHARDCHANNELS", "PUBSUB SHARDNUMSUB a", "SPUBLISH c m",
    ],
    "settings": [
        "CONFIG GET maxclients", "CONFIG GET nosuch", "CONFIG GET", "CONFIG SET nosuch 1", "CONFIG SET maxclients",
        "CONFIG SET maxclients x",
        "CONFIG SET timeout 0 timeout 0", "CONFIG GET databases", "CONFIG SET databases 3", "CONFIG RESETSTAT",
        "CONFIG RESETSTAT x",
    ],
    "commands about commands": [
        "COMMAND INFO nosuch", "COMMAND GETKEYS GET k", "COMMAND GETKEYS MSET a 1 b 2",
        "COMMAND GETKEYS ZUNION 2 a b", "COMMAND GETKEYS PING",
        "COMMAND GETKEYS NOSUCH", "COMMAND GETKEYS GET", "COMMAND GETKEYS", "COMMAND DOCS nosuch",
        "COMMAND LIST FILTERBY FOO BAR",
        "COMMAND GETKEYSANDFLAGS GET k", "COMMAND GETKEYSANDFLAGS SET k v", "COMMAND INFO get",
        "COMMAND INFO lpush zadd", "COMMAND COUNT x",
    ],
}  # fmt: skip
