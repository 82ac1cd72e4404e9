"""What is on the board: rows of panels, each a question that an operator asks, and the queries that answer it.

A table and nothing else: `mpkv.metrics.grafana.board` makes a dashboard of it. In queries ``@server`` stands for the
labels of the chosen server, ``@shards`` for those and the chosen shards, ``@commands`` for those and the chosen
commands, ``@way`` for all three.

A ratio whose denominator may be 0 filters it (``> 0``): no line is honest, NaN is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    STAT = "stat"  #: the last value, large
    LINES = "lines"
    STACKED = "stacked"  #: lines that add up to something
    HEAT = "heat"  #: a histogram over time; its query gives the buckets by ``le``
    STATES = "states"  #: a named state per process over time


class Unit(StrEnum):
    """As Grafana spells them."""

    BYTES = "bytes"
    BYTES_PER_SECOND = "binBps"
    COMMANDS_PER_SECOND = "ops"
    EVENTS_PER_SECOND = "cps"
    NUMBER = "short"
    RATIO = "percentunit"
    SECONDS = "s"
    TIME_SPAN = "dtdurations"


@dataclass(frozen=True, slots=True)
class Query:
    expression: str
    legend: str = "{{instance}}"


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    width: int = 8  #: of 24
    top: float | None = None  #: of the axis; None = as the values ask
    warn_above: float | None = None  #: from where a value is orange …
    alarm_above: float | None = None  #: … and red
    alarm_below: float | None = None  #: below it is red


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


RATE: Final = "$__rate_interval"


def rate(selector: str) -> str:
    """Per second, over the interval that suits the zoom and the scrape interval."""
    return f"rate({selector}[{RATE}])"


def quantile(share: float, buckets: str, by: str) -> str:
    """From a histogram's buckets, of the last moments."""
    return f"histogram_quantile({share}, sum by ({by}, le) ({rate(buckets)}))"


def ratio(part: str, whole: str) -> str:
    return f"{part} / ({whole} > 0)"


def _quantiles(buckets: str, by: str, legend: str) -> tuple[Query, ...]:
    return tuple(
        Query(quantile(share, buckets, by), f"{name} {legend}")
        for share, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"))
    )


HITS: Final = f"sum by (instance) ({rate('redis_keyspace_hits_total{@server}')})"
MISSES: Final = f"sum by (instance) ({rate('redis_keyspace_misses_total{@server}')})"
#: What memory is held against: the limit, or the machine's memory where there is no limit.
MEMORY_LIMIT: Final = "(redis_memory_max_bytes{@server} > 0 or redis_total_system_memory_bytes{@server})"

#: Seconds of processor time per second.
FRONTEND_CPU: Final = " + ".join(
    rate(f"redis_cpu_{mode}_main_thread_seconds_total{{@server}}") for mode in ("user", "sys")
)

# fmt: off
_OVERVIEW = Row("Overview", (
    Panel("Shards that work", "The share of shards that are ready or saving. Below 1, some keys cannot be reached.",
          Unit.RATIO, (Query("sum by (instance) (mpkv_up{@server}) / count by (instance) (mpkv_up{@server})"),),
          Kind.STAT, width=4, alarm_below=1),
    Panel("Uptime", "Since the supervisor was started; restarts of workers and of the frontend do not count.",
          Unit.TIME_SPAN, (Query("redis_uptime_in_seconds{@server}"),), Kind.STAT, width=4),
    Panel("Commands per second", "All commands of all clients.",
          Unit.COMMANDS_PER_SECOND, (Query(rate("redis_commands_processed_total{@server}")),), Kind.STAT, width=4),
    Panel("Clients", "Connected now, against maxclients: orange above 80 %, red above 90 %.",
          Unit.RATIO, (Query(ratio("redis_connected_clients{@server}", "redis_config_maxclients{@server}")),),
          Kind.STAT, width=4, warn_above=0.8, alarm_above=0.9),
    Panel("Memory", "Used by data, against maxmemory; against the machine's memory where there is no maxmemory.",
          Unit.RATIO, (Query(f"redis_memory_used_bytes{{@server}} / {MEMORY_LIMIT}"),),
          Kind.STAT, width=4, warn_above=0.8, alarm_above=0.9),
    Panel("Hit ratio", "Reads that found their key. Nothing is shown while nothing is read.",
          Unit.RATIO, (Query(ratio(HITS, f"({HITS} + {MISSES})")),), Kind.STAT, width=4),
    Panel("Traffic of commands", "The ten commands that are called most.",
          Unit.COMMANDS_PER_SECOND,
          (Query(f"topk(10, sum by (cmd) ({rate('redis_commands_total{@server}')}))", "{{cmd}}"),),
          Kind.STACKED, width=12),
    Panel("Execution time", "Of one command in its worker, over all commands: waiting and sending are not in it.",
          Unit.SECONDS,
          tuple(Query(f"{query.expression} / 1e6", query.legend) for query in
                _quantiles("redis_commands_latencies_usec_bucket{@server}", "instance", "{{instance}}")),
          width=12),
    Panel("Network", "Between the server and its clients.",
          Unit.BYTES_PER_SECOND,
          (Query(rate("redis_net_input_bytes_total{@server}"), "in {{instance}}"),
           Query(rate("redis_net_output_bytes_total{@server}"), "out {{instance}}"))),
    Panel("Clients by state", "Blocked: waiting in BLPOP and the like. Paused: nothing is read from them until what is "
          "under way for them is less.",
          Unit.NUMBER,
          (Query("redis_connected_clients{@server}", "connected {{instance}}"),
           Query("redis_blocked_clients{@server}", "blocked {{instance}}"),
           Query("mpkv_frontend_paused_clients{@server}", "paused {{instance}}"))),
    Panel("Processors", "Seconds of processor time per second, over all processes: 1 is one core.",
          Unit.NUMBER,
          (Query(rate("redis_cpu_user_seconds_total{@server}"), "user {{instance}}"),
           Query(rate("redis_cpu_sys_seconds_total{@server}"), "system {{instance}}"),
           Query(FRONTEND_CPU, "of these the frontend {{instance}}"))),
))

_COMMANDS = Row("Commands", (
    Panel("Calls", "Of the chosen commands.", Unit.COMMANDS_PER_SECOND,
          (Query(f"sum by (cmd) ({rate('redis_commands_total{@commands}')})", "{{cmd}}"),)),
    Panel("Mean execution time", "Time in the workers, divided by calls.", Unit.SECONDS,
          (Query(ratio(f"sum by (cmd) ({rate('redis_commands_duration_seconds_total{@commands}')})",
                       f"sum by (cmd) ({rate('redis_commands_total{@commands}')})"), "{{cmd}}"),)),
    Panel("99 of 100 are executed within", "The 99th percentile of execution, by command.", Unit.SECONDS,
          (Query(quantile(0.99, "redis_commands_latencies_usec_bucket{@commands}", "cmd") + " / 1e6", "{{cmd}}"),)),
    Panel("Busy with", "Time spent on each command: where the workers' time goes.", Unit.RATIO,
          (Query(f"sum by (cmd) ({rate('redis_commands_duration_seconds_total{@commands}')})", "{{cmd}}"),),
          Kind.STACKED),
    Panel("Refused and failed", "Refused before execution (wrong arity, no right, loading) or ended in an error.",
          Unit.COMMANDS_PER_SECOND,
          (Query(f"sum by (cmd) ({rate('redis_commands_rejected_calls_total{@commands}')})", "{{cmd}} refused"),
           Query(f"sum by (cmd) ({rate('redis_commands_failed_calls_total{@commands}')})", "{{cmd}} failed"))),
    Panel("Error replies", "By their first word, as clients see them.", Unit.EVENTS_PER_SECOND,
          (Query(f"sum by (err) ({rate('redis_errors_total{@server}')})", "{{err}}"),)),
))

_MEMORY = Row("Memory", (
    Panel("Memory", "Used: accounted to data. Resident: taken from the machine by all processes.", Unit.BYTES,
          (Query("redis_memory_used_bytes{@server}", "used {{instance}}"),
           Query("redis_memory_used_rss_bytes{@server}", "resident {{instance}}"),
           Query("redis_memory_used_peak_bytes{@server}", "peak {{instance}}"),
           Query("redis_memory_max_bytes{@server} > 0 or redis_total_system_memory_bytes{@server}",
                 "limit {{instance}}"))),
    Panel("Data by shard", "A shard that stands out holds a large key, or keys with one hash tag.", Unit.BYTES,
          (Query("sum by (shard) (mpkv_used_memory_bytes{@shards})", "shard {{shard}}"),), Kind.STACKED),
    Panel("Overhead", "Of the used memory, what is not keys and values.", Unit.BYTES,
          (Query("redis_memory_used_overhead_bytes{@server}", "overhead {{instance}}"),
           Query("redis_memory_used_dataset_bytes{@server}", "keys and values {{instance}}"),
           Query("mpkv_frontend_client_memory_bytes{@server}", "clients' buffers {{instance}}")), Kind.STACKED),
    Panel("What the shards hold", "By type of the values; tables: what holds the keys together; between: free between "
          "values, after random deletion; kept: empty pages that are given back by and by, or by MEMORY PURGE.",
          Unit.BYTES, (Query("sum by (type) (mpkv_memory_bytes{@shards})", "{{type}}"),), Kind.STACKED),
    Panel("Keys", "By database.", Unit.NUMBER,
          (Query("sum by (db) (redis_db_keys{@server}) > 0", "{{db}}"),
           Query("sum by (db) (redis_db_keys_expiring{@server}) > 0", "{{db}} with an expiry"))),
    Panel("Expired and evicted", "Expired: their time was over. Evicted: there was no room for them.",
          Unit.EVENTS_PER_SECOND,
          (Query(rate("redis_expired_keys_total{@server}"), "expired {{instance}}"),
           Query(rate("redis_evicted_keys_total{@server}"), "evicted {{instance}}"))),
    Panel("Above maxmemory", "For how long now. A moment is nothing; it grows where nothing may be evicted, and writes "
          "are refused, or where more is written than can be evicted.", Unit.TIME_SPAN,
          (Query("redis_current_eviction_exceeded_time_ms{@server} / 1000"),), width=12),
    Panel("Deleted and not yet freed", "Large values go by and by, between commands; until then they count as used.",
          Unit.NUMBER, (Query("redis_lazyfree_pending_objects{@server}"),), width=12),
))

_PERSISTENCE = Row("Persistence", (
    Panel("Since the last snapshot", "What a power failure would lose, in time, where nothing else is written.",
          Unit.TIME_SPAN, (Query("time() - redis_rdb_last_save_timestamp_seconds{@server}"),), Kind.STAT, width=6),
    Panel("Changes since then", "What a power failure would lose, in writes.", Unit.NUMBER,
          (Query("redis_rdb_changes_since_last_save{@server}"),), Kind.STAT, width=6),
    Panel("Last snapshot", "1 = it was written, 0 = it failed.", Unit.NUMBER,
          (Query("redis_rdb_last_bgsave_status{@server}"),), Kind.STAT, width=6, alarm_below=1),
    Panel("Shards that lost writes", "How often, in the last day, a worker died and its shard was loaded from the last "
          "snapshot alone.",
          Unit.NUMBER, (Query("sum by (instance) (increase(mpkv_snapshot_fallbacks_total{@server}[1d]))"),),
          Kind.STAT, width=6, alarm_above=0.5),
    Panel("Snapshot under way", "Keys written by the children, of those that are to be written.", Unit.NUMBER,
          (Query("sum by (instance) (mpkv_snapshot_keys_processed{@server})", "written {{instance}}"),
           Query("sum by (instance) (mpkv_snapshot_keys{@server})", "to be written {{instance}}"))),
    Panel("Fork", "How long a worker stood still for its last fork.", Unit.SECONDS,
          (Query("mpkv_fork_seconds{@shards}", "shard {{shard}}"),)),
    Panel("Copied on write", "Memory that was copied because it changed while a snapshot was written.", Unit.BYTES,
          (Query("mpkv_cow_bytes{@shards}", "shard {{shard}}, now"),
           Query("mpkv_cow_last_bytes{@shards}", "shard {{shard}}, last time"))),
))

_SHARDS = Row("Shards", (
    Panel("State", "What each worker does.", Unit.NUMBER,
          (Query("mpkv_state{@shards}", "shard {{shard}}"), Query("mpkv_frontend_state{@server}", "frontend")),
          Kind.STATES, width=12),
    Panel("Heartbeat age", "Since a process was last seen alive. It grows while one command runs for long.",
          Unit.SECONDS,
          (Query("mpkv_heartbeat_age_seconds{@shards}", "shard {{shard}}"),
           Query("mpkv_frontend_heartbeat_age_seconds{@server}", "frontend")), width=6),
    Panel("Restarts", "In the last hour.", Unit.NUMBER,
          (Query("increase(mpkv_restarts_total{@shards}[1h])", "shard {{shard}}"),
           Query("increase(mpkv_frontend_restarts_total{@server}[1h])", "frontend")), width=6),
    Panel("Commands by shard", "Even, unless few keys take most of the traffic.", Unit.COMMANDS_PER_SECOND,
          (Query(f"sum by (shard) ({rate('mpkv_commands_total{@shards}')})", "shard {{shard}}"),)),
    Panel("How busy", "Share of time that a worker spends on batches, and that the frontend has the processor. Near 1, "
          "this process' core is what limits the server.", Unit.RATIO,
          (Query(rate("mpkv_eventloop_seconds_total{@shards}"), "shard {{shard}}"), Query(FRONTEND_CPU, "frontend")),
          top=1),
    Panel("Keys by shard", "Even, unless hash tags ({…} in keys) keep many keys on one shard.", Unit.NUMBER,
          (Query("sum by (shard) (mpkv_keys{@shards})", "shard {{shard}}"),), Kind.STACKED),
    Panel("Waiting for a shard", "Commands that were sent to it and are not answered.", Unit.NUMBER,
          (Query("mpkv_queue_commands{@shards}", "shard {{shard}}"),)),
    Panel("Commands per batch", "How many commands travel together, on the average: the more, the cheaper each.",
          Unit.NUMBER,
          (Query(ratio(f"sum by (shard) ({rate('mpkv_batch_commands_sum{@shards}')})",
                       f"sum by (shard) ({rate('mpkv_batch_commands_count{@shards}')})"), "shard {{shard}}"),)),
    Panel("Links", "Bytes between the frontend and the workers.", Unit.BYTES_PER_SECOND,
          (Query(rate("mpkv_link_in_bytes_total{@shards}"), "to shard {{shard}}"),
           Query(rate("mpkv_link_out_bytes_total{@shards}"), "from shard {{shard}}"))),
    Panel("Back-pressure", "How often reading from a client was paused, because too much was under way for it.",
          Unit.EVENTS_PER_SECOND, (Query(rate("mpkv_frontend_back_pressure_pauses_total{@server}")),)),
    Panel("Over several shards", "Scattered: answered in parts. Held: several shards waited for one another.",
          Unit.COMMANDS_PER_SECOND,
          (Query(rate("mpkv_frontend_scattered_commands_total{@server}"), "scattered {{instance}}"),
           Query(rate("mpkv_frontend_held_commands_total{@server}"), "held {{instance}}"))),
    Panel("Oldest intent", "How long the oldest write over several shards has waited for all of them. Above some "
          "seconds: a shard does not answer.", Unit.SECONDS,
          (Query("mpkv_frontend_intents_oldest_seconds{@server}"),)),
))

_WAY = Row("One slow command's way", (
    Panel("Slow log", "New entries per second: commands that took longer than slowlog-log-slower-than. SLOWLOG GET "
          "names them, with the same split as the panels below.",
          Unit.EVENTS_PER_SECOND, (Query(f"deriv(redis_slowlog_last_id{{@server}}[{RATE}])"),)),
    Panel("The newest entry of the slow log", "How long it took.", Unit.SECONDS,
          (Query("redis_last_slow_execution_duration_seconds{@server}"),)),
    Panel("Where the time goes", "The 99th percentile of each part of the way, all shards together. Of parts that "
          "happen in turn: the sum is the most that one command may have taken.",
          Unit.SECONDS,
          (Query(quantile(0.99, "mpkv_queue_wait_seconds_bucket{@shards}", "instance"), "1 queue {{instance}}"),
           Query(quantile(0.99, "mpkv_command_latency_seconds_bucket{@way}", "instance"), "2 execute {{instance}}"),
           Query(quantile(0.99, "mpkv_frontend_reply_wait_seconds_bucket{@server}", "instance"),
                 "3 reply {{instance}}")),
          Kind.STACKED),
    Panel("1 Queue", "From the frontend to the worker. High: the worker is busy, with this command's predecessors.",
          Unit.SECONDS, (Query(f"sum by (le) ({rate('mpkv_queue_wait_seconds_bucket{@shards}')})", "{{le}}"),),
          Kind.HEAT),
    Panel("2 Execute", "In the worker, of the chosen commands. High: the command does much; look at its keys' sizes.",
          Unit.SECONDS, (Query(f"sum by (le) ({rate('mpkv_command_latency_seconds_bucket{@way}')})", "{{le}}"),),
          Kind.HEAT),
    Panel("3 Reply", "From the worker's answer until all replies before it, of the same client, have left. High: an "
          "earlier command of the same connection is the slow one.",
          Unit.SECONDS, (Query(f"sum by (le) ({rate('mpkv_frontend_reply_wait_seconds_bucket{@server}')})", "{{le}}"),),
          Kind.HEAT),
    Panel("By shard: queue", "99th percentile.", Unit.SECONDS,
          (Query(quantile(0.99, "mpkv_queue_wait_seconds_bucket{@shards}", "shard"), "shard {{shard}}"),)),
    Panel("By shard and command: execute", "99th percentile.", Unit.SECONDS,
          (Query(quantile(0.99, "mpkv_command_latency_seconds_bucket{@way}", "shard, cmd"),
                 "shard {{shard}} {{cmd}}"),)),
    Panel("By shard: a whole batch", "99th percentile of the time in which a worker answers nobody else.", Unit.SECONDS,
          (Query(quantile(0.99, "mpkv_batch_execute_seconds_bucket{@shards}", "shard"), "shard {{shard}}"),)),
    Panel("Size of requests", "99th percentile, by command.", Unit.BYTES,
          (Query(quantile(0.99, "mpkv_command_request_bytes_bucket{@way}", "cmd"), "{{cmd}}"),), width=12),
    Panel("Size of replies", "99th percentile, by command.", Unit.BYTES,
          (Query(quantile(0.99, "mpkv_command_reply_bytes_bucket{@way}", "cmd"), "{{cmd}}"),), width=12),
))
# fmt: on

ROWS: Final = (_OVERVIEW, _COMMANDS, _MEMORY, _PERSISTENCE, _SHARDS, _WAY)
