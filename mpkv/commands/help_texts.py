"""What `<container> HELP` says: Redis' own words, of those sub-commands that exist here."""

from __future__ import annotations

from typing import Final

from mpkv.resp.replies import Status

_TEXTS: Final = {
    "client": """
GETREDIR
    Return the client ID we are redirecting to when tracking is enabled.
GETNAME
    Return the name of the current connection.
ID
    Return the ID of the current connection.
INFO
    Return information about the current client connection.
KILL <ip:port>
    Kill connection made from <ip:port>.
KILL <option> <value> [<option> <value> [...]]
    Kill connections. Options are:
    * ADDR (<ip:port>|<unixsocket>:0)
      Kill connections made from the specified address
    * LADDR (<ip:port>|<unixsocket>:0)
      Kill connections made to specified local address
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Kill connections by type.
    * USER <username>
      Kill connections authenticated by <username>.
    * SKIPME (YES|NO)
      Skip killing current connection (default: yes).
LIST [options ...]
    Return information about client connections. Options:
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Return clients of specified type.
UNPAUSE
    Stop the current client pause, resuming traffic.
PAUSE <timeout> [WRITE|ALL]
    Suspend all, or just write, clients for <timeout> milliseconds.
REPLY (ON|OFF|SKIP)
    Control the replies sent to the current connection.
SETNAME <name>
    Assign the name <name> to the current connection.
SETINFO <option> <value>
    Set client meta attr. Options are:
    * LIB-NAME: the client lib name.
    * LIB-VER: the client lib version.
UNBLOCK <clientid> [TIMEOUT|ERROR]
    Unblock the specified blocked client.
TRACKINGINFO
    Report tracking status for the current connection.
NO-EVICT (ON|OFF)
    Protect current client connection from eviction.
NO-TOUCH (ON|OFF)
    Will not touch LRU/LFU stats when this mode is on.
""",
    "command": """
(no subcommand)
    Return details about all Redis commands.
COUNT
    Return the total number of commands in this Redis server.
LIST
    Return a list of all commands in this Redis server.
INFO [<command-name> ...]
    Return details about multiple Redis commands.
    If no command names are given, documentation details for all
    commands are returned.
DOCS [<command-name> ...]
    Return documentation details about multiple Redis commands.
    If no command names are given, documentation details for all
    commands are returned.
GETKEYS <full-command>
    Return the keys from a full Redis command.
GETKEYSANDFLAGS <full-command>
    Return the keys and the access flags from a full Redis command.
""",
    "pubsub": """
CHANNELS [<pattern>]
    Return the currently active channels matching a <pattern> (default: '*').
NUMPAT
    Return number of subscriptions to patterns.
NUMSUB [<channel> ...]
    Return the number of subscribers for the specified channels, excluding
    pattern subscriptions(default: no channels).
SHARDCHANNELS [<pattern>]
    Return the currently active shard level channels matching a <pattern> (default: '*').
SHARDNUMSUB [<shardchannel> ...]
    Return the number of subscribers for the specified shard level channel(s)
""",
    "slowlog": """
GET [<count>]
    Return top <count> entries from the slowlog (default: 10, -1 mean all).
    Entries are made of:
    id, timestamp, time in microseconds, arguments array, client IP and port,
    client name
DETAILS [<count>]
    The same by name, with database, shard, and the microseconds spent in
    queue, execution and on the way back.
LEN
    Return the length of the slowlog.
RESET
    Reset the slowlog.
""",
    "latency": """
DOCTOR
    Return a human readable latency analysis report.
GRAPH <event>
    Return an ASCII latency graph for the <event> class.
HISTORY <event>
    Return time-latency samples for the <event> class.
LATEST
    Return the latest latency samples for all events.
RESET [<event> ...]
    Reset latency data of one or more <event> classes.
    (default: reset all data for all event classes)
HISTOGRAM [COMMAND ...]
    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.
    If no commands are specified then all histograms are replied.
""",
    "memory": """
DOCTOR
    Return memory problems reports.
MALLOC-STATS
    Return internal statistics report from the memory allocator.
PURGE
    Attempt to purge dirty pages for reclamation by the allocator.
STATS
    Return information about the memory usage of the server.
USAGE <key> [SAMPLES <count>]
    Return memory in bytes used by <key> and its value. Nested values are
    sampled up to <count> times (default: 5, 0 means sample all).
""",
    "debug": """
CRASH-FRONTEND [<parts>]
    Kill the frontend, at once or when so many parts have been sent.
CRASH-WORKER <shard>
    Kill the worker of a shard.
DIGEST
    Output a hex signature representing the current DB content.
EFFECTS (ON|OFF|GET)
    Keep, or return, what every write did to the data.
POPULATE <count> [<prefix>] [<size>]
    Create <count> string keys named key:<num>. If <prefix> is specified then
    it is used instead of the 'key' prefix.
RELOAD [NOSAVE]
    Save the RDB on disk and reload it back to memory, or load an existing one.
ROUTE <full-command>
    Tell which shards would run a command, and its class.
SEGFAULT [<shard>]
    Crash the frontend, or the worker of a shard, with an invalid memory access.
SET-ACTIVE-EXPIRE <0|1>
    Setting it to 0 disables expiring keys in background when they are not
    accessed. Setting it to 1 reenables it.
SHARDS
    Return figures of every shard. JMAP is the same.
SHORTCUTS <0|1>
    Setting it to 0 makes every command take its handler.
SLEEP <seconds> [<shard>]
    Stop all shards, or one, for <seconds>. Decimals allowed.
VALIDATE
    Check every invariant of the store on all shards.
""",
}


def lines_of(container: str) -> list[Status]:
    """The whole reply, with the lines that all of them begin and end with."""
    lines = [
        f"{container.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        *_TEXTS[container].strip("\n").split("\n"),
        "HELP",
        "    Prints this help.",
    ]
    return [Status(line.encode()) for line in lines]
