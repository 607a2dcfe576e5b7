"""Every metric of viewcounter, in one list: name with unit, meaning, labels.

Labels are bounded: partitions, codes of ours, names of tasks and tiers; never an id that a client chose. Counters and
histograms are summed over all processes of a host. *Measured* gauges are set by a periodic task for the whole cluster;
the host that measured serves the newest value for as long as the list says, and then no more.

docs/operations/metrics.md gives the meaning, cause and action of each.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from runtime.metric_files import FolderCollector, find_folder

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

REGISTRY: Final = CollectorRegistry()
FRESH_SECONDS: Final[dict[str, float]] = {}
"""Measured gauges by name: how long a value is served."""

MEASURED_OFTEN_SECONDS: Final = 60.0
MEASURED_RARELY_SECONDS: Final = 300.0
MEASURED_HOURLY_SECONDS: Final = 3 * 3600.0

_INSTANCE = ("shard", "instance")

_APPEND_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_FLUSH_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_FAILOVER_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0, 60.0)
_MOVE_BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0)
_TASK_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"viewcounter_{name}", meaning, labels, registry=REGISTRY)


def _histogram(name: str, meaning: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"viewcounter_{name}", meaning, labels, buckets=buckets, registry=REGISTRY)


def _measured(name: str, meaning: str, *labels: str, fresh_seconds: float = MEASURED_OFTEN_SECONDS) -> Gauge:
    FRESH_SECONDS[f"viewcounter_{name}"] = fresh_seconds
    return Gauge(f"viewcounter_{name}", meaning, labels, registry=REGISTRY, multiprocess_mode="mostrecent")


def _of_living_processes(name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(f"viewcounter_{name}", meaning, labels, registry=REGISTRY, multiprocess_mode="livesum")


# -- gateway --------------------------------------------------------------------------------------
INGEST_REQUESTS = _counter(
    "ingest_requests_total", "Requests to POST /v1/events by outcome: accepted, partial or the problem's code", "code"
)
EVENTS_ACCEPTED = _counter("events_accepted_total", "Events durable in the log and acknowledged to the client")
EVENTS_REJECTED = _counter("events_rejected_total", "Events refused within a request that was read, by code", "code")
IGNORED_FIELDS = _counter(
    "ignored_fields_total", "Requests with a field that no event has and that was ignored, by the field's name", "field"
)
APPEND_SECONDS = _histogram("append_seconds", "One group commit to the event log", buckets=_APPEND_BUCKETS)
APPEND_FAILURES = _counter("append_failures_total", "Group commits that the log did not confirm, whole or in part")
EVENTS_SPOOLED = _counter("events_spooled_total", "Events accepted onto the gateway's disk while the log was away")
SPOOL_REFUSED_PARTITIONS = _of_living_processes(
    "spool_refused_partitions", "Partitions whose entries the log refuses and gateways hold on their disks, by process"
)
SPOOL_DAMAGED_RECORDS = _counter(
    "spool_damaged_records_total",
    "Damaged places in spools, whose events could not be delivered; the files are kept",
)
SPOOLED_BYTES = _of_living_processes("spooled_bytes", "Bytes spooled on disks of gateways, not in the log yet")
LOG_BREAKERS_OPEN = _of_living_processes(
    "log_breakers_open", "Gateway processes whose circuit breaker of the log is open"
)
GATEWAYS_BY_VIEWER_KEY = _of_living_processes(
    "gateways_by_viewer_key", "Gateway processes by the fingerprint of their viewer key", "fingerprint"
)
BUFFERED_EVENTS = _of_living_processes("buffered_events", "Events that wait in the gateways for the log's answer")

WEB_CONNECTIONS_CUT = _counter(
    "web_connections_cut_total", "Connections whose request head did not keep its bounds, by reason", "reason"
)

WEB_REQUESTS_SHED = _counter(
    "web_requests_shed_total", "Requests refused because too many were in progress in Django, by kind", "kind"
)
LOG_INS = _counter("log_ins_total", "Log-ins to the admin by outcome: accepted, failed, limited", "outcome")

# -- processing -----------------------------------------------------------------------------------
OWNED_PARTITIONS = _of_living_processes(
    "owned_partitions", "Partitions that pull processes of this host drain, by shard", "shard"
)
OWNED_WATERMARK_AGE_SECONDS = Gauge(
    "viewcounter_owned_watermark_age_seconds",
    "How far complete_until of the partitions that pull processes of this host drain is behind at most, by shard",
    ("shard",),
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
DRAIN_FAILURES = _counter("drain_failures_total", "Attempts to drain partitions of a shard that failed", "shard")
OWNER_CHANGES = _counter(
    "owner_changes_total", "Partitions that pull processes of this host have claimed or handed_over", "kind"
)
LEASES_LOST = _counter("leases_lost_total", "Leases of pull processes on a shard that ended before they were renewed")
FLUSH_SECONDS = _histogram("flush_seconds", "One flush transaction on a shard, COMMIT included", buckets=_FLUSH_BUCKETS)
FLUSHES_LEFT = _counter(
    "flush_left_out_total", "Partitions left out of a flush for several partitions, by reason", "reason"
)
EVENTS_FLUSHED = _counter(
    "events_flushed_total", "Events of committed flushes: counted, duplicate, conflict or dead_lettered", "outcome"
)
FLUSHES_CONTENDED = _counter(
    "flushes_contended_total", "Flushes rolled back because another one had moved the position; harmless"
)
ID_PIECES_MERGED = _counter("id_pieces_merged_total", "Small pieces of ids that drains have merged into larger ones")
DEAD_LETTERS = _measured("dead_letters", "Dead letters that wait for an operator", "partition")
STOPPED_PARTITIONS = _measured("stopped_partitions", "Partitions that stopped by themselves, by reason", "reason")

LOG_LOSSES_OPEN = _measured(
    "log_losses_open", "Ranges that the event log has lost and that no operator has closed, by shard", "shard"
)

# -- reads ----------------------------------------------------------------------------------------
HOT_READS = _counter(
    "hot_reads_total",
    "Reads answered without Django: kept in the process, read, client_gone or the problem's code",
    "endpoint",
    "code",
)
COUNTS_STREAMS = _of_living_processes("counts_streams", "Live streams of counts that are open")
READ_FAILED_ATTEMPTS = _counter(
    "read_failed_attempts_total",
    "Failed attempts of reads at an instance: behind, overloaded, unavailable, deadline_exceeded, out_of_resources, "
    "conflict, not_primary",
    "instance",
    "outcome",
)

# -- lag ------------------------------------------------------------------------------------------
LAG_EVENTS = _measured("partition_lag_events", "Events in the log past the partition's position", "partition")
LAG_BYTES = _measured("partition_lag_bytes", "Estimated size of these events on the log server", "partition")
LAG_SECONDS = _measured("partition_lag_seconds", "Age of the oldest entry not applied, by the log's clock", "partition")
WATERMARK_AGE_SECONDS = _measured(
    "partition_watermark_age_seconds", "How far complete_until is behind the log's clock", "partition"
)
LOG_MEMORY_USED_BYTES = _measured("log_memory_used_bytes", "Memory that the log server uses")
LOG_MEMORY_MAX_BYTES = _measured("log_memory_max_bytes", "Memory that the log server may use, its maxmemory")
LOG_MEMORY_FULL_SECONDS = _measured(
    "log_memory_full_seconds", "Time until the log server's memory is full, at its present growth"
)
LOG_CLOCK_AHEAD_SECONDS = _measured(
    "log_clock_ahead_seconds", "How far the log server's clock is ahead of the worker's that measured; negative: behind"
)
UNMEASURED_PARTITIONS = _measured("unmeasured_partitions", "Partitions whose shard did not answer the last measurement")

# -- cluster --------------------------------------------------------------------------------------
SERVICES = _measured("services", "Processes in the service registry, by kind and state", "kind", "state")
TOPOLOGIES_REFUSED = _counter(
    "topologies_refused_total",
    "Topologies that a process refused, by reason: unsigned, wrong_signature, other_cluster, "
    "other_partition_count, older_epoch, same_epoch_other_content, unreadable",
    "reason",
)
TOPOLOGY_UNSIGNED = _measured("topology_unsigned", "1 while the newest topology waits for a config service to sign it")
DURABILITY_UNMET = _measured(
    "shard_durability_unmet", "1 while fewer replicas hold a commit than the shard's durability asks for", "shard"
)

# -- reads ----------------------------------------------------------------------------------------
CACHE_READS = _counter(
    "cache_reads_total",
    "Parts of answers by where they come from: process, shared, coalesced, shard or stale",
    "origin",
)
CACHE_EVICTIONS = _counter("cache_evictions_total", "Answers evicted from the memory of a process")
CACHED_BYTES = _of_living_processes("cached_bytes", "Answers in the memory of all processes")
CACHE_VALUES_REFUSED = _counter(
    "cache_values_refused_total",
    "Values in the cache that no process of this cluster has written, by kind: witness, lag, idempotency, answer",
    "kind",
)
KEY_FILES_REFUSED = _counter(
    "key_files_refused_total",
    "Files of API keys on disks of gateways that were not used, by reason: owner, mode, mac, other_cluster, unreadable",
    "reason",
)
API_KEY_COPY_AGE = _measured(
    "api_key_copy_age_seconds", "Age of the API keys on this gateway host, which are used without the control database"
)
SHARED_CACHE_ERRORS = _counter("shared_cache_errors_total", "Calls to the shared cache that failed or took too long")

# -- audit, rollups, retention --------------------------------------------------------------------
AUDIT_DRIFT_EVENTS = _measured(
    "audit_drift_events",
    "Events by which counts differ from what they were made of, by comparison",
    "comparison",
    fresh_seconds=MEASURED_HOURLY_SECONDS,
)
AUDITED_HOURS = _counter("audited_hours_total", "Hours of partitions that an audit has compared")
ROLLUP_BUCKETS = _counter("rollup_buckets_total", "Buckets replaced from the tier below, by tier", "tier")
ROLLUP_SECONDS = _histogram("rollup_seconds", "One rollup of one partition", buckets=_FLUSH_BUCKETS)
ROLLUP_DIRTY_BUCKETS = _measured("rollup_dirty_buckets", "Buckets that wait to be replaced, by tier", "tier")
SKETCHES_MADE = _counter("sketches_made_total", "Sketches of viewers and values made, by tier", "tier")
SKETCH_SECONDS = _histogram("sketch_seconds", "One call that makes a partition's sketches", buckets=_FLUSH_BUCKETS)
SKETCHES_DUE = _measured("sketches_due_buckets", "Hours or days of partitions whose sketches wait, by tier", "tier")
CONTROL_BACKUP_AGE_SECONDS = _measured(
    "control_backup_age_seconds",
    "Age of the newest verified backup of the control database; +Inf without one",
    fresh_seconds=MEASURED_RARELY_SECONDS,
)
DELETION_CLOCK_BEHIND_SECONDS = _measured(
    "deletion_clock_behind_seconds",
    "How far the time that deletion by age counts from is behind the shard's clock",
    "shard",
    fresh_seconds=MEASURED_HOURLY_SECONDS,
)
RETENTION_REMOVED = _counter(
    "retention_removed_total", "Rows, or whole day partitions of raw_event, removed for their age, by table", "table"
)

# -- instances, as shard proxies see them ---------------------------------------------------------
INSTANCE_UP = _measured("instance_up", "1 if the server answers the shard proxy, if only with an error", *_INSTANCE)
INSTANCE_LAG_SECONDS = _measured("instance_lag_seconds", "How old a replica's rows may be", *_INSTANCE)
INSTANCE_LAG_BYTES = _measured(
    "instance_lag_bytes", "WAL of the primary that the instance has not replayed", *_INSTANCE
)
INSTANCE_LAG_PARTITIONS = _measured(
    "instance_lag_partitions", "Partitions whose position is lower than on the primary", *_INSTANCE
)
INSTANCE_LAG_EVENTS = _measured(
    "instance_lag_events", "Events that the primary has applied and the instance has not", *_INSTANCE
)
INSTANCE_CONNECTIONS = _measured("instance_connections", "Client connections of all databases", *_INSTANCE)
INSTANCE_MAX_CONNECTIONS = _measured(
    "instance_max_connections", "max_connections, those kept for some roles included", *_INSTANCE
)
INSTANCE_OLDEST_TRANSACTION_SECONDS = _measured(
    "instance_oldest_transaction_seconds", "Age of the oldest open transaction of a client", *_INSTANCE
)
INSTANCE_DATABASE_BYTES = _measured(
    "instance_database_bytes", "Size of the shard's database", *_INSTANCE, fresh_seconds=MEASURED_RARELY_SECONDS
)
INSTANCE_SLOT_RETAINED_BYTES = _measured(
    "instance_slot_retained_bytes", "WAL that is kept for a replication slot", *_INSTANCE, "slot"
)
KILLS = _counter("kills_total", "Sessions cancelled or terminated", *_INSTANCE, "session_class", "reason", "action")
KILL_REFUSALS = _counter("kill_refusals_total", "Sessions past their budget that the role may not end", *_INSTANCE)
KILLS_WAITING = _of_living_processes("kills_waiting", "Kills that wait for the control database")
KILLS_DROPPED = _counter("kills_dropped_total", "Kills dropped before they were stored, because too many waited")

# -- tasks, log, catalogue ------------------------------------------------------------------------
TASKS_SENT = _counter("tasks_sent_total", "Tasks that the broker took, from beat or from another task", "task")
TASK_SECONDS = _histogram("task_seconds", "One run of a periodic task", "task", buckets=_TASK_BUCKETS)
TASK_FAILURES = _counter("task_failures_total", "Runs of periodic tasks that did not do their work", "task")
LOG_UNFIT = _measured("log_unfit", "1 while the log server must not be used, by the code of its 503s", "code")
LOG_RANGES_LOST = _counter(
    "log_ranges_lost_total",
    "Ranges of a partition's log that its reader found lost, by reason: replaced or missing",
    "reason",
)
LOG_TERMS_BEGUN = _counter(
    "log_terms_begun_total", "Terms of the log that this process began, because the log server had lost entries"
)
LOG_ENTRIES_TRIMMED = _counter(
    "log_entries_trimmed_total", "Log entries trimmed because every instance has applied them"
)
CATALOGUE_LAG_CHANGES = _measured(
    "catalogue_lag_changes", "Changes of the catalogue that a shard has not copied yet", "shard"
)
VIDEOS_ENRICHED = _counter("videos_enriched_total", "Videos whose title a flush wrote at first sight")


# -- config service -------------------------------------------------------------------------------
CONFIG_SERVICE_LEADS = _of_living_processes("config_service_leads", "Config services of this host that lead")
SILENT_INSTANCES = _measured("silent_instances", "Database instances that do not answer the leading config service")
EXCLUDED_INSTANCES = _measured("excluded_instances", "Instances that the event log is no longer kept for")
LOG_KEPT_BYTES = _measured("log_kept_bytes", "Bytes of the event log that the entries of a shard take", "shard")
LOG_SHARE_BYTES = _measured(
    "log_share_bytes",
    "Bytes of the event log that a shard may take before absent replicas are excluded",
    "shard",
)
LOG_FULL_SECONDS = _measured(
    "log_share_full_seconds",
    "Seconds until a shard has filled its share of the log; +Inf while it does not grow",
    "shard",
)
SHARD_CONDITION = _measured(
    "shard_condition", "1 for the condition of the shard, as the leading config service sees it", "shard", "condition"
)
FAILOVERS = _counter("failovers_total", "Changes of primary that have ended, by kind and outcome", "kind", "outcome")
FAILOVER_SECONDS = _histogram(
    "failover_seconds",
    "From the old primary's last answer, or the hold of writes, to the new roles published",
    "kind",
    buckets=_FAILOVER_BUCKETS,
)

# -- moving partitions ----------------------------------------------------------------------------
MOVES_UNFINISHED = _measured("moves_unfinished", "Moves that have not ended, by state", "state")
MOVES_RUNNING = _of_living_processes("moves_running", "Moves that processes of this host carry out")
MOVES = _counter("moves_total", "Moves that have ended, by outcome: done or aborted", "outcome")
MOVE_ROWS = _counter("move_rows_total", "Rows written to the shards that partitions move to, repeated copies included")
MOVE_FAILURES = _counter("move_failures_total", "Attempts at a step of a move that failed, by its state", "state")
MOVE_SECONDS = _histogram("move_seconds", "A move, from its first step to its end", buckets=_MOVE_BUCKETS)
MOVE_HELD_SECONDS = _histogram(
    "move_held_seconds", "How long a partition counted nothing while it was handed over", buckets=_FAILOVER_BUCKETS
)


def get_host_registry() -> CollectorRegistry:
    """The metrics of all processes of this host, or of this process where it has no metric files."""
    folder = find_folder()
    if folder is None:
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(FolderCollector(folder, fresh_seconds=FRESH_SECONDS))
    return registry


def render_metrics() -> bytes:
    """All metrics of this host in the text format of Prometheus. Raises MetricFilesLocked."""
    return generate_latest(get_host_registry())
