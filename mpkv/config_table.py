"""Every directive there is: those of Redis 7.2, and mpkv's own. One row each; everything else derives from the rows.

A row: name, kind of value, default as a config file would have it, flags, one line of documentation, alias. Flags:

=====  ===============================================================================================================
`I`    immutable: only at the start
`P`    protected: CONFIG SET only with enable-protected-configs
`L`    not while loading
`S`    sensitive: never shown in logs, slow log or MONITOR
`H`    hidden: CONFIG GET shows it only under its exact name
`F`    in a config file, on the command line and in the environment only: CONFIG does not know it
`U`    unused: Redis has it, mpkv has no use for it yet; accepted with a warning when it is set to something else
=====  ===============================================================================================================
"""

from __future__ import annotations

import enum
import re
import textwrap
from dataclasses import dataclass
from typing import Any, Final

from mpkv.config_values import (
    INT64_MAX,
    INT_MIN,
    UINT_MAX,
    BufferLimits,
    Choice,
    Directory,
    EventClasses,
    Kind,
    Lines,
    Memory,
    MemoryOrPercent,
    Number,
    OomScores,
    Percentiles,
    ReplicaOf,
    SavePoints,
    ShutdownWords,
    Text,
    Words,
    YesNo,
)  # fmt: skip


class Flag(enum.Flag):
    NONE = 0
    IMMUTABLE = enum.auto()
    PROTECTED = enum.auto()
    NOT_LOADING = enum.auto()
    SENSITIVE = enum.auto()
    HIDDEN = enum.auto()
    FILE_ONLY = enum.auto()
    UNUSED = enum.auto()


@dataclass(frozen=True, slots=True)
class Directive:
    name: str
    kind: Kind
    default: str  #: words, as in a config file
    flags: Flag
    doc: str
    alias: str = ""  #: a second name; accepted everywhere the first is

    @property
    def attribute(self) -> str:
        """Its name as an attribute of `Config`."""
        return self.name.replace("-", "_")

    @property
    def used(self) -> bool:
        return Flag.UNUSED not in self.flags

    @property
    def mutable(self) -> bool:
        return Flag.IMMUTABLE not in self.flags

    @property
    def protected(self) -> bool:
        return Flag.PROTECTED in self.flags

    @property
    def sensitive(self) -> bool:
        return Flag.SENSITIVE in self.flags

    @property
    def hidden(self) -> bool:
        return Flag.HIDDEN in self.flags

    def default_value(self) -> Any:
        words: list[str] = self.default.split(" ") if self.kind.several else [self.default]
        empty: Any = {} if isinstance(self.kind, BufferLimits) else []
        if isinstance(self.kind, Lines) and words == [""]:
            return empty
        return self.kind.parse(words, empty)


def _file_name(directive: str) -> Text:
    def check(name: str) -> str:
        if not name:
            return f"{directive} can't be empty"
        return f"{directive} can't be a path, just a filename" if "/" in name else ""

    return Text(check)


def _title_template(template: str) -> str:
    known = {"title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"}
    plain = re.sub(r"\{([a-z-]+)\}", lambda match: "" if match[1] in known else "{", template)
    return "template format is invalid or contains unknown variables" if "{" in plain or "}" in plain else ""


def _host_name(name: str) -> str:
    if len(name) >= 256:
        return "Hostnames must be less than 256 characters"
    if not re.fullmatch(r"[A-Za-z0-9.-]*", name):
        return "Hostnames may only contain alphanumeric characters, hyphens or dots"
    return ""


_LETTERS: Final = {
    "I": Flag.IMMUTABLE, "P": Flag.PROTECTED, "L": Flag.NOT_LOADING, "S": Flag.SENSITIVE, "H": Flag.HIDDEN,
    "F": Flag.FILE_ONLY,
    "U": Flag.UNUSED,
}  # fmt: skip


def _row(  # noqa: PLR0917 - a table is read by columns
    name: str, kind: Kind, default: str, letters: str, doc: str, alias: str = ""
) -> Directive:
    flags = Flag.NONE
    for letter in letters:
        flags |= _LETTERS[letter]
    return Directive(name, kind, default, flags, doc, alias)


_PORT = Number(0, 65535)
_COUNT = Number(0, INT64_MAX)
_TEXT = Text()
_YES_NO = YesNo()
_NATURAL = Number()
_POLICY = Choice("no", "yes", "local")

# fmt: off
_NETWORK = (
    _row("bind", Words(16, "Too many bind addresses specified."), "* -::*", "",
         "Addresses to listen on; one that begins with - may be missing"),
    _row("bind-source-addr", _TEXT, "", "U", "Address that outgoing connections come from"),
    _row("port", _PORT, "6379", "", "TCP port; 0 = no TCP"),
    _row("tcp-backlog", _NATURAL, "511", "I", "Connections that may wait to be accepted"),
    _row("unixsocket", _TEXT, "", "I", "Path of a unix socket to listen on"),
    _row("unixsocketperm", Number(0, 0o777, octal=True), "0", "I",
         "Permissions of the unix socket, octal; 0 = by umask"),
    _row("timeout", _NATURAL, "0", "", "Close a client that was idle so many seconds; 0 = never"),
    _row("tcp-keepalive", _NATURAL, "300", "", "Seconds between TCP keep-alive probes; 0 = off"),
    _row("protected-mode", _YES_NO, "yes", "", "Without a password, refuse clients from other machines"),
    _row("maxclients", Number(1, UINT_MAX), "10000", "", "Connections at the same time"),
    _row("socket-mark-id", Number(0, UINT_MAX), "0", "IU", "Mark of listening sockets (SO_MARK)"),
)

_TLS = (
    _row("tls-port", _PORT, "0", "U", "Port for TLS; 0 = off"),
    _row("tls-cert-file", _TEXT, "", "U", "Certificate of the server (PEM)"),
    _row("tls-key-file", _TEXT, "", "U", "Key of the certificate (PEM)"),
    _row("tls-key-file-pass", _TEXT, "", "SU", "Password of the key"),
    _row("tls-client-cert-file", _TEXT, "", "U", "Certificate for outgoing connections"),
    _row("tls-client-key-file", _TEXT, "", "U", "Key for outgoing connections"),
    _row("tls-client-key-file-pass", _TEXT, "", "SU", "Password of the key for outgoing connections"),
    _row("tls-dh-params-file", _TEXT, "", "U", "Diffie-Hellman parameters (PEM)"),
    _row("tls-ca-cert-file", _TEXT, "", "U", "Certificates that peers are checked against (PEM)"),
    _row("tls-ca-cert-dir", _TEXT, "", "U", "Directory of such certificates"),
    _row("tls-auth-clients", Choice("no", "yes", "optional"), "yes", "U", "Whether clients must show a certificate"),
    _row("tls-protocols", _TEXT, "", "U", "Allowed protocol versions; empty = the library's"),
    _row("tls-ciphers", _TEXT, "", "U", "Ciphers up to TLS 1.2"),
    _row("tls-ciphersuites", _TEXT, "", "U", "Ciphers of TLS 1.3"),
    _row("tls-prefer-server-ciphers", _YES_NO, "no", "U", "Choose ciphers in the server's order"),
    _row("tls-session-caching", _YES_NO, "yes", "U", "Let clients resume sessions"),
    _row("tls-session-cache-size", _NATURAL, "20480", "U", "Sessions kept"),
    _row("tls-session-cache-timeout", _NATURAL, "300", "U", "Seconds a session is kept"),
    _row("tls-replication", _YES_NO, "no", "U", "TLS between primary and replica"),
    _row("tls-cluster", _YES_NO, "no", "U", "TLS on the cluster bus"),
)

_GENERAL = (
    _row("daemonize", _YES_NO, "no", "I", "Run in the background"),
    _row("supervised", Choice("upstart", "systemd", "auto", "no"), "no", "I", "Tell the service manager when ready"),
    _row("pidfile", _TEXT, "", "I", "File for the supervisor's process id"),
    _row("loglevel", Choice("debug", "verbose", "notice", "warning", "nothing"), "notice", "", "Least severity logged"),
    _row("logfile", _TEXT, "", "I", "File to log to; empty = standard output"),
    _row("log-format", Choice("redis", "json"), "redis", "I", "Lines as Redis writes them, or one JSON object a line"),
    _row("hide-user-data-from-log", _YES_NO, "yes", "", "A crash report does not show the arguments of the command"),
    _row("syslog-enabled", _YES_NO, "no", "I", "Log to the system's logger"),
    _row("syslog-ident", _TEXT, "redis", "I", "Name in the system's log"),
    _row("syslog-facility", Choice("user", *(f"local{number}" for number in range(8))), "local0", "I",
         "Facility in the system's log"),
    _row("databases", Number(1), "16", "I", "Number of databases"),
    _row("set-proc-title", _YES_NO, "yes", "I", "Show the state of every process in its title"),
    _row("proc-title-template", Text(_title_template), "{title} {listen-addr} {server-mode}", "U",
         "Form of the process title"),
    _row("always-show-logo", _YES_NO, "no", "IU", "Print the logo at the start"),
    _row("crash-log-enabled", _YES_NO, "yes", "", "Log a report on a crash"),
    _row("crash-memcheck-enabled", _YES_NO, "yes", "U", "Check memory on a crash"),
    _row("hz", Number(floor=1, ceiling=500), "10", "", "Ticks per second for expiry and other background work"),
    _row("dynamic-hz", _YES_NO, "yes", "U", "More ticks with more clients"),
    _row("disable-thp", _YES_NO, "yes", "I", "No transparent huge pages: they make forks expensive"),
    _row("locale-collate", _TEXT, "", "U", "Locale for the order of strings"),
    _row("ignore-warnings", _TEXT, "", "",
         "Warnings at the start to keep quiet about: overcommit, huge-pages, open-files, backlog, ARM64-COW-BUG"),
    _row("include", Lines(), "", "F", "Read another file here; may be a pattern"),
    _row("server_cpulist", _TEXT, "", "IU", "Cores for the server"),
    _row("bio_cpulist", _TEXT, "", "IU", "Cores for background threads"),
    _row("aof_rewrite_cpulist", _TEXT, "", "IU", "Cores for the rewrite of the append-only file"),
    _row("bgsave_cpulist", _TEXT, "", "IU", "Cores for snapshots"),
)

_SECURITY = (
    _row("requirepass", _TEXT, "", "S", "Password of the default user"),
    _row("masterauth", _TEXT, "", "SU", "Password that a replica shows to its primary"),
    _row("masteruser", _TEXT, "", "SU", "User that a replica logs in as"),
    _row("user", Lines(), "", "FU", "One user's access rules"),
    _row("aclfile", _TEXT, "", "IU", "File of users"),
    _row("acllog-max-len", _COUNT, "128", "U", "Entries in the log of refused accesses"),
    _row("acl-pubsub-default", Choice("allchannels", "resetchannels"), "resetchannels", "U", "Channels of a new user"),
    _row("rename-command", Lines(2, 2), "", "FU", "Another name for a command; empty = disabled"),
    _row("loadmodule", Lines(), "", "FU", "Load a module at the start"),
    _row("enable-debug-command", _POLICY, "no", "I",
         "Whether DEBUG may be used: no, yes, or from this machine only (local)"),
    _row("enable-module-command", _POLICY, "no", "IU", "Whether MODULE may be used"),
    _row("enable-protected-configs", _POLICY, "no", "I", "Whether CONFIG SET may change protected directives"),
    _row("sanitize-dump-payload", Choice("no", "yes", "clients"), "no", "U", "Whether RESTORE checks deeply"),
)

_MEMORY = (
    _row("maxmemory", Memory(), "0", "", "Memory for data, of all shards together; 0 = no limit"),
    _row("maxmemory-policy",
         Choice("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "allkeys-lru", "allkeys-lfu",
                "allkeys-random", "noeviction"),
         "noeviction", "", "What goes when memory is full"),
    _row("maxmemory-samples", Number(1, 64), "5", "", "Keys looked at for one eviction"),
    _row("maxmemory-eviction-tenacity", Number(0, 100), "10", "", "How much time eviction may take"),
    _row("maxmemory-clients", MemoryOrPercent(), "0", "U",
         "Memory for all clients' buffers, in bytes or % of maxmemory"),
    _row("active-expire-effort", Number(1, 10), "1", "", "Work put into deleting what has expired"),
    _row("lfu-log-factor", _NATURAL, "10", "", "How slowly the use counter saturates"),
    _row("lfu-decay-time", _NATURAL, "1", "", "Minutes after which the use counter is halved"),
    _row("lazyfree-lazy-eviction", _YES_NO, "yes", "", "Free evicted values by and by"),
    _row("lazyfree-lazy-expire", _YES_NO, "yes", "", "Free expired values by and by"),
    _row("lazyfree-lazy-server-del", _YES_NO, "yes", "", "Free overwritten values by and by"),
    _row("lazyfree-lazy-user-del", _YES_NO, "no", "", "DEL works as UNLINK"),
    _row("lazyfree-lazy-user-flush", _YES_NO, "no", "", "FLUSHALL and FLUSHDB free by and by"),
    _row("activerehashing", _YES_NO, "yes", "U", "Rehash in idle time"),
    _row("jemalloc-bg-thread", _YES_NO, "yes", "U", "Let the allocator return memory in the background"),
    _row("activedefrag", _YES_NO, "no", "U", "Defragment memory while running"),
    _row("active-defrag-ignore-bytes", Memory(1), "100mb", "U", "Fragmentation below which defragmentation rests"),
    _row("active-defrag-threshold-lower", Number(0, 1000), "10", "U", "Fragmentation in % where it starts"),
    _row("active-defrag-threshold-upper", Number(0, 1000), "100", "U", "Fragmentation in % where it works hardest"),
    _row("active-defrag-cycle-min", Number(1, 99), "1", "U", "Least work in % of CPU"),
    _row("active-defrag-cycle-max", Number(1, 99), "25", "U", "Most work in % of CPU"),
    _row("active-defrag-max-scan-fields", Number(1, INT64_MAX), "1000", "U", "Largest value defragmented at once"),
    _row("oom-score-adj", Choice("no", "yes", "relative", "absolute"), "no", "U", "Adjust what the kernel kills first"),
    _row("oom-score-adj-values", OomScores(), "0 200 800", "U", "By how much: primary, replica, snapshot child"),
)

_SNAPSHOTS = (
    _row("save", SavePoints(), "3600 1 300 100 60 10000", "",
         "Save after so many seconds if there were so many changes"),
    _row("stop-writes-on-bgsave-error", _YES_NO, "yes", "", "Refuse writes while snapshots fail"),
    _row("rdbcompression", _YES_NO, "yes", "U", "Compress strings in snapshots"),
    _row("rdbchecksum", _YES_NO, "yes", "I", "End snapshots with a checksum"),
    _row("dbfilename", _file_name("dbfilename"), "dump.rdb", "P", "Name of the snapshot in `dir`"),
    _row("dir", Directory(), "./", "PL", "Directory of snapshots and logs"),
    _row("rdb-del-sync-files", _YES_NO, "no", "U", "Delete snapshots that only replication needed"),
    _row("rdb-save-incremental-fsync", _YES_NO, "yes", "U", "Write snapshots to disk little by little"),
)

_LOG = (
    _row("appendonly", _YES_NO, "no", "LU", "Log every write"),
    _row("appendfsync", Choice("everysec", "always", "no"), "everysec", "U", "When the log goes to disk"),
    _row("appendfilename", _file_name("appendfilename"), "appendonly.aof", "IU", "Beginning of the log's file names"),
    _row("appenddirname", _file_name("appenddirname"), "appendonlydir", "IU", "Directory of the log in `dir`"),
    _row("no-appendfsync-on-rewrite", _YES_NO, "no", "U", "No fsync of the log during a snapshot"),
    _row("auto-aof-rewrite-percentage", _NATURAL, "100", "U", "Growth in % after which the log is rewritten"),
    _row("auto-aof-rewrite-min-size", Memory(), "64mb", "U", "Size below which the log is not rewritten"),
    _row("aof-load-truncated", _YES_NO, "yes", "U", "Load a log whose end is cut off"),
    _row("aof-use-rdb-preamble", _YES_NO, "yes", "U", "Begin the log with a snapshot"),
    _row("aof-timestamp-enabled", _YES_NO, "no", "U", "Note the time in the log"),
    _row("aof-rewrite-incremental-fsync", _YES_NO, "yes", "U", "Write rewrites to disk little by little"),
)

_REPLICATION = (
    _row("replicaof", ReplicaOf(), "", "IU", "Be a replica of host and port", "slaveof"),
    _row("replica-read-only", _YES_NO, "yes", "U", "A replica refuses writes", "slave-read-only"),
    _row("replica-serve-stale-data", _YES_NO, "yes", "U", "A replica without link goes on answering",
         "slave-serve-stale-data"),
    _row("replica-priority", _NATURAL, "100", "U", "Lower is promoted first; 0 never", "slave-priority"),
    _row("replica-announced", _YES_NO, "yes", "U", "Whether Sentinel reports this replica"),
    _row("replica-announce-ip", _TEXT, "", "U", "Address that a replica reports", "slave-announce-ip"),
    _row("replica-announce-port", _PORT, "0", "U", "Port that a replica reports", "slave-announce-port"),
    _row("replica-ignore-maxmemory", _YES_NO, "yes", "U", "A replica does not evict", "slave-ignore-maxmemory"),
    _row("replica-lazy-flush", _YES_NO, "no", "U", "Flush in the background before a full sync", "slave-lazy-flush"),
    _row("replica-ignore-disk-write-errors", _YES_NO, "no", "U", "A replica goes on when its disk fails"),
    _row("repl-diskless-sync", _YES_NO, "yes", "U", "Send snapshots without a file"),
    _row("repl-diskless-sync-delay", _NATURAL, "5", "U", "Seconds to wait for more replicas"),
    _row("repl-diskless-sync-max-replicas", _NATURAL, "0", "U", "Do not wait once so many are there"),
    _row("repl-diskless-load", Choice("disabled", "on-empty-db", "swapdb"), "disabled", "LU", "Load without a file"),
    _row("repl-backlog-size", Memory(1, floor=16384), "1mb", "U", "Stream kept for replicas that come back"),
    _row("repl-backlog-ttl", _COUNT, "3600", "U", "Seconds without replicas until it is freed"),
    _row("repl-timeout", Number(1), "60", "U", "Seconds without a word until a link is given up"),
    _row("repl-ping-replica-period", Number(1), "10", "U", "Seconds between pings", "repl-ping-slave-period"),
    _row("repl-disable-tcp-nodelay", _YES_NO, "no", "U", "Fewer, larger packets to replicas"),
    _row("min-replicas-to-write", _NATURAL, "0", "U", "Refuse writes with fewer replicas", "min-slaves-to-write"),
    _row("min-replicas-max-lag", _NATURAL, "10", "U", "Lag in seconds up to which a replica counts",
         "min-slaves-max-lag"),
    _row("propagation-error-behavior", Choice("ignore", "panic", "panic-on-replicas"), "ignore", "U",
         "What a broken stream leads to"),
)

_LIMITS = (
    # Redis has no limit for normal clients; here nothing grows without a bound.
    _row("client-output-buffer-limit", BufferLimits(), "normal 1gb 512mb 60 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
         "",
         "Unsent output at which a client is disconnected"),
    _row("client-query-buffer-limit", Memory(1 << 20), "1gb", "",
         "Unfinished request at which a client is disconnected"),
    _row("proto-max-bulk-len", Memory(1 << 20), "512mb", "", "Longest word of a request, and longest string"),
    _row("tracking-table-max-keys", _COUNT, "1000000", "U", "Keys remembered for client-side caches"),
    _row("client-max-inflight", Memory(1), "1mb", "",
         "Bytes of one client's requests under way, until reading from it pauses"),
    _row("worker-max-inflight", Memory(1), "32mb", "",
         "Bytes under way to one worker, until reading from its clients pauses"),
)

_OBSERVABILITY = (
    _row("slowlog-log-slower-than", Number(-1, INT64_MAX), "10000", "", "µs from which a command is logged; -1 = off"),
    _row("slowlog-max-len", _COUNT, "128", "", "Entries in the slow log"),
    _row("latency-monitor-threshold", _COUNT, "0", "", "ms from which an event is noted; 0 = off"),
    _row("latency-tracking", _YES_NO, "yes", "", "Keep a histogram of every command's latency"),
    _row("latency-tracking-info-percentiles", Percentiles(), "50 99 99.9", "",
         "Percentiles shown by INFO latencystats"),
    _row("notify-keyspace-events", EventClasses(), "", "U", "Changes that are published, by class"),
    _row("metrics-port", _PORT, "9121", "I", "Port of /metrics, /healthz and /readyz; 0 = off"),
    _row("metrics-bind", _TEXT, "127.0.0.1", "I", "Address of /metrics, /healthz and /readyz"),
)

_SCRIPTS = (
    _row("busy-reply-threshold", _COUNT, "5000", "U", "ms after which a script makes others see BUSY",
         "lua-time-limit"),
)

_ENCODINGS = (
    _row("hash-max-listpack-entries", _COUNT, "512", "", "Fields of a packed hash", "hash-max-ziplist-entries"),
    _row("hash-max-listpack-value", Memory(), "64", "", "Bytes of a value in a packed hash", "hash-max-ziplist-value"),
    _row("zset-max-listpack-entries", _COUNT, "128", "", "Members of a packed sorted set", "zset-max-ziplist-entries"),
    _row("zset-max-listpack-value", Memory(), "64", "", "Bytes of a member in a packed sorted set",
         "zset-max-ziplist-value"),
    _row("set-max-intset-entries", _COUNT, "512", "", "Members of a set of integers"),
    _row("set-max-listpack-entries", _COUNT, "128", "", "Members of a packed set"),
    _row("set-max-listpack-value", Memory(), "64", "", "Bytes of a member in a packed set"),
    _row("list-max-listpack-size", Number(INT_MIN), "-2", "", "Elements, or size class, of a block of a list",
         "list-max-ziplist-size"),
    _row("list-compress-depth", _NATURAL, "0", "U", "Blocks at both ends of a list that stay uncompressed"),
    _row("hll-sparse-max-bytes", Memory(), "3000", "U", "Bytes of a sparse HyperLogLog"),
    _row("stream-node-max-bytes", Memory(), "4096", "U", "Bytes of a block of a stream"),
    _row("stream-node-max-entries", _COUNT, "100", "U", "Entries of a block of a stream"),
)

_CLUSTER = (
    _row("cluster-enabled", _YES_NO, "no", "IU", "Be a node of a cluster"),
    _row("cluster-config-file", _TEXT, "nodes.conf", "IU", "File where a node keeps what it knows"),
    _row("cluster-port", _PORT, "0", "IU", "Port of the cluster bus; 0 = port + 10000"),
    _row("cluster-node-timeout", _COUNT, "15000", "U", "ms until a silent node is suspected"),
    _row("cluster-announce-ip", _TEXT, "", "U", "Address that a node reports"),
    _row("cluster-announce-hostname", Text(_host_name), "", "U", "Host name that a node reports"),
    _row("cluster-announce-human-nodename", _TEXT, "", "U", "Name for people"),
    _row("cluster-announce-port", _PORT, "0", "U", "Port that a node reports"),
    _row("cluster-announce-tls-port", _PORT, "0", "U", "TLS port that a node reports"),
    _row("cluster-announce-bus-port", _PORT, "0", "U", "Bus port that a node reports"),
    _row("cluster-require-full-coverage", _YES_NO, "yes", "U", "Refuse everything while slots are uncovered"),
    _row("cluster-allow-reads-when-down", _YES_NO, "no", "U", "Reads go on while the cluster is down"),
    _row("cluster-allow-pubsubshard-when-down", _YES_NO, "yes", "U", "Sharded channels go on while it is down"),
    _row("cluster-allow-replica-migration", _YES_NO, "yes", "U", "Replicas move to primaries without one"),
    _row("cluster-migration-barrier", _NATURAL, "1", "U", "Replicas a primary keeps"),
    _row("cluster-replica-validity-factor", _NATURAL, "10", "U", "How old a replica may be to be promoted",
         "cluster-slave-validity-factor"),
    _row("cluster-replica-no-failover", _YES_NO, "no", "U", "Never promote this replica", "cluster-slave-no-failover"),
    _row("cluster-link-sendbuf-limit", Memory(), "0", "U", "Unsent bytes at which a bus link is cut; 0 = never"),
    _row("cluster-preferred-endpoint-type", Choice("ip", "hostname", "unknown-endpoint"), "ip", "U",
         "What redirects name"),
)

_LIFECYCLE = (
    _row("shutdown-timeout", _NATURAL, "10", "U", "Seconds to wait for replicas before stopping"),
    _row("shutdown-on-sigterm", ShutdownWords(), "default", "",
         "What SIGTERM does: default, or save nosave now force"),
    _row("shutdown-on-sigint", ShutdownWords(), "default", "", "What SIGINT does"),
)

_PROCESSES = (
    _row("workers", Number(0, 256), "0", "I",
         "Worker processes; 0 = the cores this service may use, less one, at least 1"),
    _row("runtime-dir", _TEXT, "", "I", "Directory of internal sockets; empty = chosen automatically"),
    _row("link-rings", _YES_NO, "yes", "I", "Batches travel in shared memory; no = all through ZeroMQ"),
    _row("large-value", Memory(1024), "16kb", "I",
         "Words and replies of at least this size do not travel in batches but stay in shared pages"),
    _row("large-value-pool", Memory(0, 4 << 30), "64mb", "I",
         "Shared pages for large requests, and the same for each worker's large replies; 0 = none, all is in batches"),
    _row("hang-limit", Number(0, 86_400), "30", "I",
         "Seconds without heartbeat or processor time: then a process is killed and started again; 0 = never"),
    _row("restart-limit", Number(1, 10_000), "15", "I", "Deaths of one process within a minute: then it stays down"),
    _row("io-threads", Number(1, 128), "1", "IU", "No effect: the cores are used through `workers`"),
    _row("io-threads-do-reads", _YES_NO, "no", "IU", "No effect: the cores are used through `workers`"),
)

_HIDDEN = (
    _row("use-exit-on-panic", _YES_NO, "no", "IHU", "Exit instead of abort on a failed assertion"),
    _row("aof-disable-auto-gc", _YES_NO, "no", "HU", "Keep old log files"),
    _row("rdb-key-save-delay", Number(INT_MIN), "0", "HU", "µs to wait after every key saved"),
    _row("key-load-delay", Number(INT_MIN), "0", "HU", "µs to wait after every key loaded"),
    _row("watchdog-period", _NATURAL, "0", "HU", "ms after which a stuck command is reported"),
    _row("cluster-ping-interval", _NATURAL, "1000", "IHU", "ms between pings on the cluster bus"),
    _row("loading-process-events-interval-bytes", Number(1024), "2097152", "HU",
         "Bytes loaded between looks at clients"),
    _row("client-default-resp", Number(2, 3), "2", "IHU", "Protocol version of a new client"),
    _row("req-res-logfile", _TEXT, "", "IHU", "File for requests and replies"),
    # Negative controls of the fault tests: with one of these on, a test of recovery must fail.
    _row("debug-disable-intents", _YES_NO, "no", "IH", "Keep no intents of writes in several parts"),
    _row("debug-ignore-epoch", _YES_NO, "no", "IH", "Accept envelopes of an earlier incarnation"),
)
# fmt: on

#: Name -> directive, in the order in which CONFIG REWRITE adds what is new.
DIRECTIVES: Final[dict[str, Directive]] = {
    row.name: row
    for area in (
        _NETWORK, _TLS, _GENERAL, _SECURITY, _MEMORY, _SNAPSHOTS, _LOG, _REPLICATION, _LIMITS, _OBSERVABILITY, _SCRIPTS,
        _ENCODINGS, _CLUSTER, _LIFECYCLE, _PROCESSES, _HIDDEN,
    )
    for row in area
}  # fmt: skip

#: The same by alias.
ALIASES: Final[dict[str, Directive]] = {row.alias: row for row in DIRECTIVES.values() if row.alias}

#: What only mpkv has.
OWN: Final = frozenset({
    "workers", "metrics-port", "metrics-bind", "runtime-dir", "client-max-inflight", "worker-max-inflight",
    "link-rings", "large-value", "large-value-pool", "restart-limit", "hang-limit",
    "log-format", "hide-user-data-from-log", "debug-disable-intents", "debug-ignore-epoch",
})  # fmt: skip


def find(name: str) -> Directive | None:
    """By name or alias, in any case."""
    lower = name.lower()
    return DIRECTIVES.get(lower) or ALIASES.get(lower)


def markdown() -> str:
    """The directives as tables for the documentation: mpkv's own, those of Redis with an effect, those without."""
    shown = [row for row in DIRECTIVES.values() if not row.hidden]
    parts = (
        ("Of mpkv alone", [row for row in shown if row.name in OWN]),
        ("Of Redis, with their effect", [row for row in shown if row.name not in OWN and row.used]),
    )
    lines = []
    for title, rows in parts:
        lines += [f"## {title}", "", "| directive | default | while running | |", "|---|---|---|---|"]
        lines += [f"| `{row.name}` | {_shown(row.default)} | {_when(row)} | {row.doc} |" for row in rows]
        lines.append("")
    unused = ", ".join(f"`{row.name}`" for row in shown if not row.used)
    lines += ["## Of Redis, accepted without effect", "", *textwrap.wrap(unused, 120, break_on_hyphens=False)]
    return "\n".join(lines)


def _shown(default: str) -> str:
    return f"`{default}`" if default else "–"


def _when(row: Directive) -> str:
    if Flag.FILE_ONLY in row.flags:
        return "file only"
    if not row.mutable:
        return "at start"
    return "with enable-protected-configs" if row.protected else "yes"


if __name__ == "__main__":
    print(markdown())
