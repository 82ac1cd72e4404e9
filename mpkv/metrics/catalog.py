"""Every number that INFO shows or `/metrics` exports, in one table in INFO's order.

A row: the INFO field (by section), how to read it, and the name it has at redis_exporter (without ``redis_``; none =
not exported). Counters of the exporter that lack ``_total`` are counters all the same. What mpkv does not have is 0,
and says so by being a constant here. Fields that repeat another one for people (``…_human``) are rows too, so that INFO
is nothing but this table and the families of `mpkv.metrics.families`: one line per command, error or database. Both
INFO and `/metrics` are rendered from these two tables and from nothing else, so they cannot disagree.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mpkv import REDIS_VERSION, __version__
from mpkv.metrics.memory import ratio
from mpkv.metrics.source import Reading

Value = int | float | str
Reader = Callable[[Reading], Value]


@dataclass(frozen=True, slots=True)
class Field:
    section: str  #: of INFO; "" = not in INFO
    name: str  #: in INFO
    read: Reader
    metric: str = ""
    kind: str = "gauge"  #: or ``counter``
    scale: float = 1.0  #: the metric's unit in terms of the field's
    shown: Callable[[Reading], bool] | None = None  #: whether INFO has it now; None = always

    @property
    def help(self) -> str:
        return f"INFO {self.section.lower()}: {self.name}" if self.section else self.name.replace("_", " ")


def human(size_bytes: float) -> str:
    """As Redis prints sizes for people: ``1.50M``."""
    if size_bytes < 1024:
        return f"{int(size_bytes)}B"
    for unit in "KMGTP":
        size_bytes /= 1024
        if size_bytes < 1024 or unit == "P":
            return f"{size_bytes:.2f}{unit}"
    raise AssertionError("unreachable")


def two_digits(value: float) -> str:
    return f"{value:.2f}"


def microseconds(seconds: float) -> str:
    return f"{seconds:.6f}"


def _ratio(numerator: float, denominator: float) -> str:
    return two_digits(ratio(numerator, denominator))


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0:.2f}%"


def _zero(reading: Reading) -> int:
    return 0


def _constant(value: Value) -> Reader:
    return lambda reading: value


def _count(name: str) -> Reader:
    """A number of the board as it is."""
    return lambda reading: reading.count(name)


def _config(name: str) -> Reader:
    attribute = name.replace("-", "_")

    def read(reading: Reading) -> Value:
        value = getattr(reading.config, attribute)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else reading.config.text(name)

    return read


def _memory(name: str) -> Reader:
    """A number of `mpkv.metrics.memory.Memory`."""
    return lambda reading: int(getattr(reading.memory, name))


def _memory_ratio(part: str, whole: str) -> Reader:
    return lambda reading: _ratio(getattr(reading.memory, part), getattr(reading.memory, whole))


def _memory_beyond(part: str, whole: str) -> Reader:
    return lambda reading: int(getattr(reading.memory, part)) - int(getattr(reading.memory, whole))


def _seconds_since(reading: Reading, name: str) -> int:
    """Since a moment in ms; -1 = there is none."""
    began_ms = reading.count(name)
    return max(0, int(reading.now - began_ms / 1000)) if began_ms else -1


def _last_save_seconds(reading: Reading) -> int:
    """As in Redis, a server that never saved was «saved» when it started: what it loaded is what is on disk."""
    return max(reading.count("snapshot_last_save_seconds"), int(reading.source.started_at))


def _last_duration_seconds(reading: Reading) -> int:
    ran = reading.board.total("snapshot_saves") + reading.board.total("snapshot_failures")
    return reading.count("snapshot_last_duration_ms") // 1000 if ran else -1


def _processed_percent(reading: Reading) -> str:
    done, total = reading.count("snapshot_keys_processed"), reading.count("snapshot_keys_total")
    return two_digits(100 * done / total if total else 0)


def _load(name: str) -> Reader:
    """A number of the shard that will be loaded last."""
    return lambda reading: reading.slowest_load.counter(name)


def _loaded_percent(reading: Reading) -> str:
    shard = reading.slowest_load
    return two_digits(100 * shard.counter("load_loaded_bytes") / max(1, shard.counter("load_total_bytes")))


def _load_eta_seconds(reading: Reading) -> int:
    shard = reading.slowest_load
    loaded, total = shard.counter("load_loaded_bytes"), shard.counter("load_total_bytes")
    passed = max(0.0, reading.now - shard.counter("load_started_ms") / 1000)
    return int(passed * max(0, total - loaded)) // loaded if loaded else -1


def _loop_microseconds(reading: Reading) -> int:
    rates = reading.rates
    return int(rates.loop_nanoseconds / rates.loops / 1000) if rates.loops else 0


def _fields(section: str, *rows: tuple[object, ...]) -> tuple[Field, ...]:
    return tuple(Field(section, *row) for row in rows)  # type: ignore[arg-type]


# fmt: off
_SERVER = _fields(
    "Server",
    ("redis_version", _constant(REDIS_VERSION)),
    ("redis_git_sha1", _constant("00000000")),
    ("redis_git_dirty", _zero),
    ("redis_build_id", lambda r: r.build_id),
    ("redis_mode", _constant("standalone")),
    ("os", lambda r: r.system),
    ("arch_bits", _constant(64)),
    ("monotonic_clock", _constant("POSIX clock_gettime")),
    ("multiplexing_api", _constant("epoll")),
    ("atomicvar_api", _constant("c11-builtin")),
    ("gcc_version", _constant("0.0.0")),
    ("process_id", lambda r: r.board.supervisor.pid or os.getpid(), "process_id"),
    ("process_supervised", lambda r: r.supervised),
    ("run_id", lambda r: r.segment.run_id),
    ("tcp_port", _config("port")),
    ("server_time_usec", lambda r: int(r.now * 1_000_000)),
    ("uptime_in_seconds", lambda r: r.uptime_seconds, "uptime_in_seconds"),
    ("uptime_in_days", lambda r: r.uptime_seconds // 86400),
    ("hz", _config("hz"), "hz"),
    ("configured_hz", _config("hz"), "configured_hz"),
    ("lru_clock", lambda r: int(r.now) & 0xFFFFFF),
    ("executable", lambda r: r.executable),
    ("config_file", lambda r: r.config.file or ""),
    ("io_threads_active", _zero, "io_threads_active"),
    ("mpkv_version", _constant(__version__)),
)

_CLIENTS = _fields(
    "Clients",
    ("connected_clients", _count("connected_clients"), "connected_clients"),
    ("cluster_connections", _zero, "cluster_connections"),
    ("maxclients", _config("maxclients"), "max_clients"),
    ("client_recent_max_input_buffer", _count("client_recent_max_input_buffer"),
     "client_recent_max_input_buffer_bytes"),
    ("client_recent_max_output_buffer", _count("client_recent_max_output_buffer"),
     "client_recent_max_output_buffer_bytes"),
    ("blocked_clients", _count("blocked_clients"), "blocked_clients"),
    ("tracking_clients", _zero, "tracking_clients"),
    ("clients_in_timeout_table", _count("clients_in_timeout_table"), "clients_in_timeout_table"),
    ("total_blocking_keys", _count("total_blocking_keys"), "total_blocking_keys"),
    ("total_blocking_keys_on_nokey", _zero, "total_blocking_keys_on_nokey"),
)

_MEMORY = _fields(
    "Memory",
    ("used_memory", _memory("used"), "memory_used_bytes"),
    ("used_memory_human", lambda r: human(r.memory.used)),
    ("used_memory_rss", _memory("rss"), "memory_used_rss_bytes"),
    ("used_memory_rss_human", lambda r: human(r.memory.rss)),
    ("used_memory_peak", _memory("peak"), "memory_used_peak_bytes"),
    ("used_memory_peak_human", lambda r: human(r.memory.peak)),
    ("used_memory_peak_perc", lambda r: _percent(r.memory.used, r.memory.peak)),
    ("used_memory_overhead", _memory("tables"), "memory_used_overhead_bytes"),
    ("used_memory_startup", _memory("startup"), "memory_used_startup_bytes"),
    ("used_memory_dataset", _memory("dataset"), "memory_used_dataset_bytes"),
    ("used_memory_dataset_perc", lambda r: _percent(r.memory.dataset, r.memory.net)),
    ("allocator_allocated", _memory("used"), "allocator_allocated_bytes"),
    ("allocator_active", _memory("active"), "allocator_active_bytes"),
    ("allocator_resident", _memory("resident"), "allocator_resident_bytes"),
    ("total_system_memory", lambda r: r.system_memory_bytes, "total_system_memory_bytes"),
    ("total_system_memory_human", lambda r: human(r.system_memory_bytes)),
    ("used_memory_lua", _zero, "memory_used_lua_bytes"),
    ("used_memory_vm_eval", _zero, "memory_used_vm_eval_bytes"),
    ("used_memory_lua_human", lambda r: human(0)),
    ("used_memory_scripts_eval", _zero, "memory_used_scripts_eval_bytes"),
    ("number_of_cached_scripts", _zero, "number_of_cached_scripts"),
    ("number_of_functions", _zero, "number_of_functions"),
    ("number_of_libraries", _zero, "number_of_libraries"),
    ("used_memory_vm_functions", _zero, "memory_used_vm_functions_bytes"),
    ("used_memory_vm_total", _zero, "memory_used_vm_total"),
    ("used_memory_vm_total_human", lambda r: human(0)),
    ("used_memory_functions", _zero, "memory_used_functions_bytes"),
    ("used_memory_scripts", _zero, "memory_used_scripts_bytes"),
    ("used_memory_scripts_human", lambda r: human(0)),
    ("maxmemory", _config("maxmemory"), "memory_max_bytes"),
    ("maxmemory_human", lambda r: human(r.config.maxmemory)),
    ("maxmemory_policy", _config("maxmemory-policy")),
    ("allocator_frag_ratio", _memory_ratio("active", "used"), "allocator_frag_ratio"),
    ("allocator_frag_bytes", _memory_beyond("active", "used"), "allocator_frag_bytes"),
    ("allocator_rss_ratio", _memory_ratio("resident", "active"), "allocator_rss_ratio"),
    ("allocator_rss_bytes", _memory_beyond("resident", "active"), "allocator_rss_bytes"),
    ("rss_overhead_ratio", _memory_ratio("rss", "resident"), "rss_overhead_ratio"),
    ("rss_overhead_bytes", _memory_beyond("rss", "resident"), "rss_overhead_bytes"),
    ("mem_fragmentation_ratio", _memory_ratio("rss", "used"), "mem_fragmentation_ratio"),
    ("mem_fragmentation_bytes", _memory_beyond("rss", "used"), "mem_fragmentation_bytes"),
    ("mem_not_counted_for_evict", _zero, "mem_not_counted_for_eviction_bytes"),
    ("mem_replication_backlog", _zero, "mem_replication_backlog_bytes"),
    ("mem_total_replication_buffers", _zero, "mem_total_replication_buffers_bytes"),
    ("mem_clients_slaves", _zero, "mem_clients_slaves"),
    ("mem_clients_normal", _memory("clients"), "mem_clients_normal"),
    ("mem_cluster_links", _zero, "mem_cluster_links_bytes"),
    ("mem_aof_buffer", _zero, "mem_aof_buffer_bytes"),
    ("mem_allocator", _constant(f"mpkv-{__version__}")),
    ("active_defrag_running", _zero, "active_defrag_running"),
    ("lazyfree_pending_objects", _count("lazyfree_pending"), "lazyfree_pending_objects"),
    ("lazyfreed_objects", _count("lazyfreed_objects"), "lazyfreed_objects"),
)

_PERSISTENCE = _fields(
    "Persistence",
    ("loading", lambda r: int(r.loading), "loading_dump_file"),
    ("async_loading", _zero, "async_loading"),
    ("current_cow_peak", _count("cow_peak_bytes"), "current_cow_peak_bytes"),
    ("current_cow_size", _count("cow_bytes"), "current_cow_size_bytes"),
    ("current_cow_size_age", lambda r: max(0, _seconds_since(r, "cow_updated_ms")), "current_cow_size_age_seconds"),
    ("current_fork_perc", _processed_percent),
    ("current_save_keys_processed", _count("snapshot_keys_processed"), "current_save_keys_processed"),
    ("current_save_keys_total", _count("snapshot_keys_total"), "current_save_keys_total"),
    ("rdb_changes_since_last_save", _count("dirty"), "rdb_changes_since_last_save"),
    ("rdb_bgsave_in_progress", lambda r: int(r.saving), "rdb_bgsave_in_progress"),
    ("rdb_last_save_time", _last_save_seconds, "rdb_last_save_timestamp_seconds"),
    ("rdb_last_bgsave_status", lambda r: "err" if r.count("snapshot_last_failed") else "ok", "rdb_last_bgsave_status"),
    ("rdb_last_bgsave_time_sec", _last_duration_seconds, "rdb_last_bgsave_duration_sec"),
    ("rdb_current_bgsave_time_sec", lambda r: _seconds_since(r, "snapshot_started_ms"),
     "rdb_current_bgsave_duration_sec"),
    ("rdb_saves", _count("snapshot_saves"), "rdb_saves_total"),
    ("rdb_last_cow_size", _count("cow_last_bytes"), "rdb_last_cow_size_bytes"),
    ("rdb_last_load_keys_expired", _count("load_keys_expired"), "rdb_last_load_expired_keys"),
    ("rdb_last_load_keys_loaded", _count("load_keys_loaded"), "rdb_last_load_loaded_keys"),
    ("aof_enabled", _zero, "aof_enabled"),
    ("aof_rewrite_in_progress", _zero, "aof_rewrite_in_progress"),
    ("aof_rewrite_scheduled", _zero, "aof_rewrite_scheduled"),
    ("aof_last_rewrite_time_sec", _constant(-1), "aof_last_rewrite_duration_sec"),
    ("aof_current_rewrite_time_sec", _constant(-1), "aof_current_rewrite_duration_sec"),
    ("aof_last_bgrewrite_status", _constant("ok"), "aof_last_bgrewrite_status"),
    ("aof_rewrites", _zero),
    ("aof_rewrites_consecutive_failures", _zero),
    ("aof_last_write_status", _constant("ok"), "aof_last_write_status"),
    ("aof_last_cow_size", _zero, "aof_last_cow_size_bytes"),
    ("module_fork_in_progress", _zero, "module_fork_in_progress"),
    ("module_fork_last_cow_size", _zero, "module_fork_last_cow_size"),
) + tuple(
    Field("Persistence", name, read, shown=lambda r: r.loading)
    for name, read in (
        ("loading_start_time", lambda r: r.slowest_load.counter("load_started_ms") // 1000),
        ("loading_total_bytes", _load("load_total_bytes")),
        ("loading_rdb_used_mem", _zero),
        ("loading_loaded_bytes", _load("load_loaded_bytes")),
        ("loading_loaded_perc", _loaded_percent),
        ("loading_eta_seconds", _load_eta_seconds),
    )
)

_STATS = _fields(
    "Stats",
    ("total_connections_received", _count("total_connections_received"), "connections_received_total", "counter"),
    ("total_commands_processed", _count("total_commands_processed"), "commands_processed_total", "counter"),
    ("instantaneous_ops_per_sec", lambda r: int(r.rates.commands), "instantaneous_ops_per_sec"),
    ("total_net_input_bytes", _count("total_net_input_bytes"), "net_input_bytes_total", "counter"),
    ("total_net_output_bytes", _count("total_net_output_bytes"), "net_output_bytes_total", "counter"),
    ("total_net_repl_input_bytes", _zero, "net_repl_input_bytes_total", "counter"),
    ("total_net_repl_output_bytes", _zero, "net_repl_output_bytes_total", "counter"),
    ("instantaneous_input_kbps", lambda r: two_digits(r.rates.input_bytes / 1024), "instantaneous_input_kbps"),
    ("instantaneous_output_kbps", lambda r: two_digits(r.rates.output_bytes / 1024), "instantaneous_output_kbps"),
    ("instantaneous_input_repl_kbps", _constant("0.00")),
    ("instantaneous_output_repl_kbps", _constant("0.00")),
    ("rejected_connections", _count("rejected_connections"), "rejected_connections_total", "counter"),
    ("sync_full", _zero, "replica_resyncs_full"),
    ("sync_partial_ok", _zero, "replica_partial_resync_accepted"),
    ("sync_partial_err", _zero, "replica_partial_resync_denied"),
    ("expired_keys", _count("expired_keys"), "expired_keys_total", "counter"),
    ("expired_stale_perc", lambda r: two_digits(r.count("expired_stale_permyriad") / 100), "expired_stale_percentage"),
    ("expired_time_cap_reached_count", _count("expired_time_cap_reached"), "expired_time_cap_reached_total", "counter"),
    ("expire_cycle_cpu_milliseconds", lambda r: r.count("expire_cycle_nanoseconds") // 1_000_000,
     "expire_cycle_cpu_time_ms_total", "counter"),
    ("evicted_keys", _count("evicted_keys"), "evicted_keys_total", "counter"),
    ("evicted_clients", _zero, "evicted_clients_total", "counter"),
    ("total_eviction_exceeded_time", _count("eviction_exceeded_ms"), "eviction_exceeded_time_ms_total", "counter"),
    ("current_eviction_exceeded_time", _count("eviction_exceeding_ms"), "current_eviction_exceeded_time_ms"),
    ("keyspace_hits", _count("keyspace_hits"), "keyspace_hits_total", "counter"),
    ("keyspace_misses", _count("keyspace_misses"), "keyspace_misses_total", "counter"),
    ("pubsub_channels", _count("pubsub_channels"), "pubsub_channels"),
    ("pubsub_patterns", _count("pubsub_patterns"), "pubsub_patterns"),
    ("pubsubshard_channels", _count("pubsubshard_channels"), "pubsubshard_channels"),
    ("latest_fork_usec", _count("fork_microseconds"), "latest_fork_seconds", "gauge", 1e-6),
    ("total_forks", _count("forks")),
    ("migrate_cached_sockets", _zero, "migrate_cached_sockets_total"),
    ("slave_expires_tracked_keys", _zero, "slave_expires_tracked_keys"),
    ("active_defrag_hits", _zero, "defrag_hits"),
    ("active_defrag_misses", _zero, "defrag_misses"),
    ("active_defrag_key_hits", _zero, "defrag_key_hits"),
    ("active_defrag_key_misses", _zero, "defrag_key_misses"),
    ("total_active_defrag_time", _zero),
    ("current_active_defrag_time", _zero),
    ("tracking_total_keys", _zero, "tracking_total_keys"),
    ("tracking_total_items", _zero, "tracking_total_items"),
    ("tracking_total_prefixes", _zero, "tracking_total_prefixes"),
    ("unexpected_error_replies", _count("unexpected_error_replies"), "unexpected_error_replies", "counter"),
    ("total_error_replies", _count("total_error_replies"), "total_error_replies", "counter"),
    ("dump_payload_sanitizations", _zero, "dump_payload_sanitizations", "counter"),
    ("total_reads_processed", _count("total_reads_processed"), "total_reads_processed", "counter"),
    ("total_writes_processed", _count("total_writes_processed"), "total_writes_processed", "counter"),
    ("io_threaded_reads_processed", _zero, "io_threaded_reads_processed", "counter"),
    ("io_threaded_writes_processed", _zero, "io_threaded_writes_processed", "counter"),
    ("reply_buffer_shrinks", _zero, "reply_buffer_shrinks_total", "counter"),
    ("reply_buffer_expands", _zero, "reply_buffer_expands_total", "counter"),
    ("eventloop_cycles", _count("eventloop_cycles"), "eventloop_cycles_total", "counter"),
    ("eventloop_duration_sum", lambda r: r.count("eventloop_nanoseconds") // 1000, "eventloop_duration_sum_usec_total",
     "counter"),
    ("eventloop_duration_cmd_sum", lambda r: sum(row[1] for row in r.commands.values()) // 1000,
     "eventloop_duration_cmd_sum_usec_total", "counter"),
    ("instantaneous_eventloop_cycles_per_sec", lambda r: int(r.rates.loops), "instantaneous_eventloop_cycles_per_sec"),
    ("instantaneous_eventloop_duration_usec", _loop_microseconds, "instantaneous_eventloop_duration_usec"),
    ("acl_access_denied_auth", _count("acl_access_denied_auth"), "acl_access_denied_auth_total", "counter"),
    ("acl_access_denied_cmd", _count("acl_access_denied_cmd"), "acl_access_denied_cmd_total", "counter"),
    ("acl_access_denied_key", _count("acl_access_denied_key"), "acl_access_denied_key_total", "counter"),
    ("acl_access_denied_channel", _count("acl_access_denied_channel"), "acl_access_denied_channel_total", "counter"),
)

_REPLICATION = _fields(
    "Replication",
    ("role", _constant("master")),
    ("connected_slaves", _zero, "connected_slaves"),
    ("master_failover_state", _constant("no-failover")),
    ("master_replid", lambda r: r.replication_id),
    ("master_replid2", _constant("0" * 40)),
    ("master_repl_offset", _zero, "master_repl_offset"),
    ("second_repl_offset", _constant(-1), "second_repl_offset"),
    ("repl_backlog_active", _zero, "repl_backlog_is_active"),
    ("repl_backlog_size", _config("repl-backlog-size"), "replication_backlog_bytes"),
    ("repl_backlog_first_byte_offset", _zero, "repl_backlog_first_byte_offset"),
    ("repl_backlog_histlen", _zero, "repl_backlog_history_bytes"),
)

_CPU = _fields(
    "CPU",
    ("used_cpu_sys", lambda r: microseconds(r.usage.system_seconds), "cpu_sys_seconds_total", "counter"),
    ("used_cpu_user", lambda r: microseconds(r.usage.user_seconds), "cpu_user_seconds_total", "counter"),
    ("used_cpu_sys_children", lambda r: microseconds(r.usage.children_system_seconds),
     "cpu_sys_children_seconds_total", "counter"),
    ("used_cpu_user_children", lambda r: microseconds(r.usage.children_user_seconds),
     "cpu_user_children_seconds_total", "counter"),
    ("used_cpu_sys_main_thread", lambda r: microseconds(r.usage.main_system_seconds),
     "cpu_sys_main_thread_seconds_total", "counter"),
    ("used_cpu_user_main_thread", lambda r: microseconds(r.usage.main_user_seconds),
     "cpu_user_main_thread_seconds_total", "counter"),
)

_CLUSTER = _fields("Cluster", ("cluster_enabled", _zero, "cluster_enabled"))

#: What redis_exporter takes from elsewhere, or from versions after 7.2.
_METRICS_ONLY = _fields(
    "",
    ("up", lambda r: int(r.serves), "up"),
    ("start_time_seconds", lambda r: int(r.source.started_at), "start_time_seconds"),
    ("pubsub_clients", _count("pubsub_clients"), "pubsub_clients"),
    ("watching_clients", _count("watching_clients"), "watching_clients"),
    ("total_watched_keys", _count("total_watched_keys"), "total_watched_keys"),
    ("client_query_buffer_limit_disconnections", _count("client_query_buffer_limit_disconnections"),
     "client_query_buffer_limit_disconnections_total", "counter"),
    ("client_output_buffer_limit_disconnections", _count("client_output_buffer_limit_disconnections"),
     "client_output_buffer_limit_disconnections_total", "counter"),
    ("slowlog_length", _count("slowlog_length"), "slowlog_length"),
    ("slowlog_last_id", _count("slowlog_last_id"), "slowlog_last_id"),
    ("last_slow_execution_duration", _count("slowlog_last_microseconds"), "last_slow_execution_duration_seconds",
     "gauge", 1e-6),
    ("config_maxclients", _config("maxclients"), "config_maxclients"),
    ("config_maxmemory", _config("maxmemory"), "config_maxmemory"),
    ("config_repl_backlog_size", _config("repl-backlog-size"), "config_repl_backlog_size"),
    ("config_io_threads", _config("io-threads"), "config_io_threads"),
)
# fmt: on

FIELDS: Final[tuple[Field, ...]] = (
    *_SERVER, *_CLIENTS, *_MEMORY, *_PERSISTENCE, *_STATS, *_REPLICATION, *_CPU, *_CLUSTER, *_METRICS_ONLY,
)  # fmt: skip

#: Words of INFO that are numbers on `/metrics`.
WORD_VALUES: Final = {"ok": 1, "err": 0}


def metric_value(field: Field, reading: Reading) -> float:
    value = field.read(reading)
    number = WORD_VALUES[value] if value in WORD_VALUES else float(value)
    return number * field.scale


def instance_labels(reading: Reading) -> dict[str, str]:
    """The labels of ``redis_instance_info``."""
    fields = {field.name: field for field in FIELDS if field.section}
    names = (
        "role", "redis_version", "redis_build_id", "redis_mode", "os", "maxmemory_policy", "tcp_port", "run_id",
        "process_id",
        "master_replid",
    )  # fmt: skip
    return {name: str(fields[name].read(reading)) for name in names}
