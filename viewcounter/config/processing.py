"""Settings of drains, rollups, retention, dead letters, audits and recounts."""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings


class ProcessingConfig(BaseSettings):
    """Drains, rollups, retention, dead letters, audits."""

    # -- processing ----------------------------------------------------------------------------------
    drain_interval_seconds: PositiveFloat = Field(0.5, description="beat looks for unread entries")
    drain_budget_seconds: PositiveFloat = Field(5.0, description="a drain ends after this long")
    flush_max_events: PositiveInt = Field(40_000, description="a flush takes no more entries from this many events on")
    flush_max_bytes: PositiveInt = Field(16 * 1024 * 1024, description="nor from this size of its columns on")
    flush_max_keys: PositiveInt = Field(20_000, description="nor from this many keys (video, type, minute) on")
    flush_max_seconds: PositiveFloat = Field(1.0, description="nor after reading this long; an idle log ends it")
    flush_max_conflicts: NonNegativeInt = Field(100, description="conflicting events kept of a flush; all are counted")
    flush_queue_batches: PositiveInt = Field(2, description="flushes that wait, judged, while one is written")
    log_read_entries: PositiveInt = Field(200, description="entries read from the log at once")
    id_cache_max_bytes: PositiveInt = Field(256 * 1024 * 1024, description="ids a worker process keeps, 24 bytes each")
    id_pieces_max: PositiveInt = Field(
        64, description="a drain that finds the ids of a minute in more small pieces than this puts them together"
    )
    id_pieces_small_ids: PositiveInt = Field(4096, description="pieces of this many ids or more stay as they are")
    drain_queued_seconds: PositiveInt = Field(10, description="a queued drain that got lost is queued again after this")
    drain_lease_seconds: PositiveInt = Field(5, description="a drain that died is replaced after this")
    drain_pause_first_seconds: PositiveFloat = Field(
        0.5, description="drains of a shard that failed one pause up to this long, twice as long each time"
    )
    drain_pause_max_seconds: PositiveFloat = Field(5.0, description="and no longer")
    drain_slow_flush_seconds: PositiveFloat = Field(
        3.0, description="a shard whose flushes take longer leaves a worker process to the others"
    )
    drain_forget_seconds: PositiveInt = Field(60, description="a sick shard, or a silent process, is forgotten after")
    watermark_interval_seconds: PositiveFloat = Field(2.0, description="idle partitions' watermark moves")
    lag_interval_seconds: PositiveFloat = Field(5.0, description="lag is measured for the metrics this often")
    trim_interval_seconds: PositiveFloat = 30.0
    catalogue_interval_seconds: PositiveFloat = Field(2.0, description="titles reach the shards this late")
    raw_days_interval_seconds: PositiveFloat = 3600.0
    trim_safety_seconds: PositiveInt = Field(120, description="applied entries stay in the log this long")

    # -- rollups and retention -----------------------------------------------------------------------
    rollup_interval_seconds: PositiveFloat = Field(30.0, description="beat looks for hours to roll and dirty buckets")
    rollup_grace_seconds: PositiveFloat = Field(
        300.0, description="an hour is rolled once the watermark is this far past it; later events leave dirty marks"
    )
    rollup_budget_seconds: PositiveFloat = Field(5.0, description="a rollup task ends after this")
    rollup_marks_max: PositiveInt = Field(1000, description="dirty buckets replaced in one transaction")
    retention_interval_seconds: PositiveFloat = Field(600.0, description="beat looks for what is too old")
    retention_budget_seconds: PositiveFloat = Field(5.0, description="a retention task ends after this")
    retention_delete_rows: PositiveInt = Field(2000, description="rows of ids deleted in one transaction")
    raw_drop_lock_seconds: PositiveFloat = Field(0.5, description="dropping a day of raw events delays flushes so long")
    raw_retention_seconds: PositiveInt = Field(
        7 * 86400, description="raw events, whole days; longer where an event as old may still arrive"
    )
    id_retention_seconds: PositiveInt = Field(
        8 * 86400, description="ids; what the accept window leaves of it, an event may wait in a spool"
    )
    minute_retention_seconds: PositiveInt = Field(8 * 86400, description="minutes; at least as long as ids")
    hour_retention_seconds: PositiveInt = Field(90 * 86400, description="hours; days and totals are kept for ever")
    resolved_retention_seconds: PositiveInt = Field(30 * 86400, description="resolved dead letters and conflicts")

    # -- dead letters --------------------------------------------------------------------------------
    dead_letter_run_max: PositiveInt = Field(100, description="more dead letters in a row stop the partition")
    dead_letter_ratio_max: float = Field(0.05, gt=0, le=1, description="a larger part of the window's events stops it")
    dead_letter_ratio_min_events: PositiveInt = Field(1000, description="the ratio holds from this many events on")
    dead_letter_window_seconds: PositiveFloat = Field(3600.0, description="the window of the ratio")
    dead_letters_interval_seconds: PositiveFloat = Field(15.0, description="counted for the metrics this often")
    isolation_seconds: PositiveFloat = Field(20.0, description="the search for a flush's bad events; then it stops")
    isolation_max_trials: PositiveInt = Field(2000, description="parts of a flush tried in that search")
    conflicts_max_items: PositiveInt = Field(500, description="conflicts in one answer")
    dead_letters_max_items: PositiveInt = Field(500, description="dead letters in one answer or one bulk replay")

    # -- audit and recount ---------------------------------------------------------------------------
    audit_interval_seconds: PositiveFloat = Field(3600.0, description="every partition is audited this often")
    audit_closed_hours: PositiveInt = Field(2, description="an audit compares the hours closed last, this many")
    audit_older_hours: NonNegativeInt = Field(4, description="and, in turns, this many older ones of the accept window")
    audit_total_videos: PositiveInt = Field(50, description="and the all-time totals of this many videos, in turns")
    audit_max_differences: PositiveInt = Field(100, description="rows that differ, listed at once")
    audit_request_seconds: PositiveFloat = Field(20.0, description="one request for an audit, all shards together")
    recount_interval_seconds: PositiveFloat = Field(2.0, description="beat looks for recounts to begin or go on with")
    recount_budget_seconds: PositiveFloat = Field(20.0, description="a task works this long on a recount")
    recount_lease_seconds: PositiveInt = Field(30, description="a recount whose worker died goes on after this")
    recount_range_videos: PositiveInt = Field(200, description="videos compared in one snapshot")
    recount_max_differences: PositiveInt = Field(2000, description="rows repaired between two comparisons")
    recount_listed_differences: PositiveInt = Field(100, description="rows of each tier that a recount lists")
    recounts_listed: PositiveInt = Field(50, description="recounts in one list, newest first")
