"""Typed settings: every knob of viewcounter, its unit, its default for a laptop.

Values come, first wins, from environment variables `VIEWCOUNTER_<NAME>`, from one file a secret in
`VIEWCOUNTER_SECRETS_DIR`, and from the `KEY=value` file named by `VIEWCOUNTER_ENV_FILE` (default
`.local/env`, which the local cluster writes). Nothing here is read a second time while a process runs.
"""

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict

from clusterproxy.balancing import Balancer
from configservice.adding.allow_list import check_allow_list
from configservice.settings import FailoverMode
from viewcounter.sketch_config import SketchConfig

PROJECT_ROOT = Path(__file__).resolve().parent.parent

CommaSeparated = Annotated[str, NoDecode]
_BIND = r"^$|:\d+$"


class Config(SketchConfig):
    """All settings. Names carry their unit; sizes are bytes, times are seconds unless the name says ms."""

    model_config = SettingsConfigDict(env_prefix="VIEWCOUNTER_", extra="ignore", frozen=True)

    # -- process and web -------------------------------------------------------------------------
    debug: bool = False
    secret_key: SecretStr = Field(min_length=32, description="Django's signing key")
    viewer_key: SecretStr | None = Field(None, min_length=32, description="tells viewers apart; unset: by secret_key")
    allowed_hosts: CommaSeparated = "127.0.0.1,localhost,[::1]"
    https_only: bool = Field(True, description="redirect to HTTPS and mark cookies secure")
    behind_tls_proxy: bool = Field(False, description="trust X-Forwarded-Proto: the proxy must strip the client's own")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    web_bind: str = Field("127.0.0.1:8000", description="where the web processes listen")
    state_dir: Path = Field(PROJECT_ROOT / ".local", description="disk copies that survive a restart")
    zone: str = Field("local", description="zone of this process; reads prefer replicas of the same zone")

    # -- stores ----------------------------------------------------------------------------------
    control_database_host: str = "127.0.0.1"
    control_database_port: PositiveInt = 5432
    control_database_name: str = "viewcounter_control"
    control_database_user: str = "viewcounter"
    control_database_password: SecretStr = SecretStr("")
    control_query_seconds: PositiveFloat = Field(10.0, description="statement budget on the control database")
    log_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="event log server")
    broker_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6380/0"), description="Celery broker")
    cache_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6380/1"), description="published topology, queue markers, answers"
    )

    # -- what is accepted ------------------------------------------------------------------------
    accept_window_seconds: PositiveInt = Field(7 * 86400, description="oldest event accepted")
    accept_future_seconds: PositiveInt = Field(300, description="furthest event time ahead of our clock")
    request_max_events: PositiveInt = 1000
    request_max_bytes: PositiveInt = Field(1024 * 1024, description="body limit, before and after unpacking")
    request_discard_bytes: PositiveInt = Field(
        16 * 1024 * 1024, description="an oversized body is read this far, so that its sender sees the 413"
    )

    # -- gateway ---------------------------------------------------------------------------------
    commit_linger_ms: float = Field(2.0, ge=0, description="how long a group commit waits for company")
    commit_max_events: PositiveInt = Field(20_000, description="events in one group commit")
    commit_max_wait_seconds: PositiveFloat = Field(
        5.0, description="what has waited so long for a slow log is not appended any more: 503"
    )
    buffer_max_events: PositiveInt = Field(100_000, description="events waiting for the log; beyond it 503")
    log_timeout_seconds: PositiveFloat = Field(1.0, description="one call to the event log")
    log_attempts: PositiveInt = Field(3, description="attempts of one append, with backoff and full jitter")
    log_append_seconds: PositiveFloat = Field(1.5, description="no further attempt of an append begins after this")
    log_breaker_open_seconds: PositiveFloat = Field(1.0, description="a log that failed is left alone this long")
    spool_dir: Path | None = Field(
        None, description="folder on a disk of this host for events while the log is away; empty: they get a 503"
    )
    spool_max_bytes: PositiveInt = Field(1024**3, description="of each gateway process; beyond it 503")
    spool_drain_interval_seconds: PositiveFloat = Field(0.2, description="spooled events are offered to the log")
    log_retry_after_seconds: PositiveInt = Field(2, description="Retry-After of a 503, plus up to as much jitter")
    request_body_seconds: PositiveFloat = Field(10.0, description="a client has this long to send its body")
    wait_applied_seconds: PositiveFloat = Field(5.0, description="`wait=applied` waits so long; then: not applied yet")
    wait_applied_poll_seconds: PositiveFloat = Field(0.1, description="shards are asked this often for all who wait")
    wait_applied_max_requests: PositiveInt = Field(1000, description="of a process at once; more are not waited for")
    idempotency_seconds: PositiveInt = Field(3600, description="an answer is kept this long by its Idempotency-Key")
    idempotency_claim_seconds: PositiveInt = Field(15, description="a gateway that died holds its keys this long")
    idempotency_answer_max_bytes: PositiveInt = Field(65536, description="a longer answer is not kept by its key")
    shutdown_drain_seconds: PositiveFloat = Field(10.0, description="appends under way may finish this long")
    api_key_cache_seconds: PositiveFloat = Field(5.0, description="a revoked key works at most this long")
    api_key_cache_max: PositiveInt = Field(10_000, description="keys, and as many refused tokens, a process knows")
    api_key_grace_seconds: PositiveFloat = Field(600.0, description="known keys work so long without control database")
    api_key_lookup_seconds: PositiveFloat = Field(3.0, description="one look-up of a key in the control database")
    api_key_lookups_max: PositiveInt = Field(64, description="keys being looked up at once in a process; beyond it 503")
    rate_limit_burst_seconds: PositiveFloat = Field(10.0, description="what an idle key may catch up on")
    rate_limit_sync_seconds: PositiveFloat = Field(0.1, description="processes even out what their keys have used")
    rate_limit_timeout_seconds: PositiveFloat = Field(0.5, description="one call for that; then each limits by itself")

    shed_lag_events: PositiveInt = Field(20_000_000, description="events uncounted in the log; beyond it 503")
    shed_lag_seconds: PositiveFloat = Field(6 * 3600.0, description="most partitions are this far behind; then 503")

    # -- processing ------------------------------------------------------------------------------
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

    # -- rollups and retention -------------------------------------------------------------------
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

    # -- dead letters ----------------------------------------------------------------------------
    dead_letter_run_max: PositiveInt = Field(100, description="more dead letters in a row stop the partition")
    dead_letter_ratio_max: float = Field(0.05, gt=0, le=1, description="a larger part of the window's events stops it")
    dead_letter_ratio_min_events: PositiveInt = Field(1000, description="the ratio holds from this many events on")
    dead_letter_window_seconds: PositiveFloat = Field(3600.0, description="the window of the ratio")
    dead_letters_interval_seconds: PositiveFloat = Field(15.0, description="counted for the metrics this often")
    isolation_seconds: PositiveFloat = Field(20.0, description="the search for a flush's bad events; then it stops")
    isolation_max_trials: PositiveInt = Field(2000, description="parts of a flush tried in that search")
    conflicts_max_items: PositiveInt = Field(500, description="conflicts in one answer")
    dead_letters_max_items: PositiveInt = Field(500, description="dead letters in one answer or one bulk replay")

    # -- audit and recount -----------------------------------------------------------------------
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

    # -- moving partitions -----------------------------------------------------------------------
    move_lease_seconds: PositiveFloat = Field(10.0, description="a move whose mover died is taken up after this")
    move_maintenance_hold_seconds: PositiveFloat = Field(
        60.0, description="rollups and retention of a partition wait this long for a mover that died"
    )
    move_block_bytes: PositiveInt = Field(4 * 1024 * 1024, description="rows copied in one transaction")
    move_max_lag_seconds: PositiveFloat = Field(5.0, description="a mover pauses while a replica is further behind")
    move_throttle_seconds: PositiveFloat = Field(300.0, description="a step that has paused this long is given up")
    move_copy_seconds: PositiveFloat = Field(6 * 3600.0, description="copying, or comparing, one partition")
    move_ready_seconds: PositiveFloat = Field(1.0, description="a copy that catches up within this is handed over")
    move_hold_seconds: PositiveFloat = Field(5.0, description="a partition counts nothing so long at most; then again")
    move_release_seconds: PositiveFloat = Field(
        2.0, description="after it has moved, the old shard still answers readers that do not know"
    )
    move_delete_pages: PositiveInt = Field(512, description="pages of a table cleared in one transaction")
    move_attempts_max: PositiveInt = Field(10, description="failures of a step in a row; then the move is aborted")
    move_retry_max_seconds: PositiveFloat = Field(15.0, description="longest pause between two attempts at a step")
    move_poll_seconds: PositiveFloat = Field(0.2, description="a mover looks again at what it waits for")
    move_interval_seconds: PositiveFloat = Field(
        2.0, description="beat looks for partitions whose mover died while handing over"
    )
    mover_metrics_bind: str = Field(
        "", pattern=_BIND, description="host:port of run_mover's /metrics and /healthz, without a key; empty: nowhere"
    )
    moves_listed: PositiveInt = Field(100, description="moves in one list, newest first")

    task_seconds: PositiveInt = Field(60, description="soft limit of any Celery task; killed 10 s later")
    broker_timeout_seconds: PositiveFloat = 5.0

    # -- databases -------------------------------------------------------------------------------
    pool_max_connections: PositiveInt = Field(8, description="connections an instance, a process")
    pool_max_waiting: PositiveInt = Field(64, description="callers queued for a connection; beyond it shed")
    pool_flush_reserved: NonNegativeInt = Field(1, description="of them, connections that only flushes get")
    pool_report_connections: PositiveInt = Field(3, description="of them, connections that reports get at most")
    pool_wait_seconds: PositiveFloat = Field(1.0, description="one caller waits for a connection this long")
    pool_target_wait_seconds: PositiveFloat = Field(
        0.2, description="longer waits shed reports (503), twice as long ranges, four times points, never flushes"
    )
    pool_max_lifetime_seconds: PositiveFloat = Field(3600.0, description="a connection is replaced after this")
    pool_max_idle_seconds: PositiveFloat = Field(300.0, description="an unused connection is closed after this")
    lock_timeout_seconds: PositiveFloat = Field(2.0, description="a transaction waits this long for a lock on a shard")
    answer_grace_seconds: PositiveFloat = Field(0.25, description="a server this late past a budget counts as frozen")
    breaker_open_seconds: PositiveFloat = Field(1.0, description="an instance that failed is left alone this long")
    rollback_seconds: PositiveFloat = Field(1.0, description="bound of a rollback; then the connection is closed")
    migration_lock_seconds: PositiveFloat = Field(5.0, description="migrate_shards waits this long for a table")
    connect_timeout_seconds: PositiveInt = Field(2, description="libpq's smallest bound is 2")
    point_query_seconds: PositiveFloat = Field(1.0, description="budget of class point")
    range_query_seconds: PositiveFloat = Field(3.0, description="budget of class range")
    report_query_seconds: PositiveFloat = Field(10.0, description="budget of class report")
    flush_query_seconds: PositiveFloat = Field(15.0, description="budget of class flush")
    maintenance_query_seconds: PositiveFloat = Field(60.0, description="budget of class maintenance")
    scatter_seconds: PositiveFloat = Field(5.0, description="one deadline for all shards of a scatter")
    scatter_max_threads: PositiveInt = Field(16, description="shard queries of scatters at once in a process")
    scatter_max_waiting: PositiveInt = Field(64, description="shard queries queued for a thread; beyond it shed")
    health_interval_seconds: PositiveFloat = Field(1.0, description="each process probes each instance this often")
    health_probe_seconds: PositiveFloat = Field(1.0, description="bound of one probe")
    replica_max_lag_seconds: PositiveFloat = Field(10.0, description="a replica behind this is not read")
    read_balancer: Balancer = Field(
        Balancer.ROUND_ROBIN,
        description="between equal replicas: round_robin, least_connections, least_response_time or hash",
    )
    response_fade_seconds: PositiveFloat = Field(10.0, description="an answer counts in response times this long")
    read_wait_seconds: PositiveFloat = Field(2.0, description="a read waits until a copy has what it demands; then 504")
    read_poll_seconds: PositiveFloat = Field(0.02, description="a copy is asked this often how far it is, for all")
    read_max_waiting: PositiveInt = Field(256, description="reads of a process that wait; beyond it 503")
    topology_poll_seconds: PositiveFloat = Field(0.5, description="a new epoch is seen within this")
    topology_first_wait_seconds: PositiveFloat = Field(5.0, description="then a process starts from its disk copy")
    history_max_epochs: PositiveInt = Field(100, description="epochs in one answer of the cluster's history")

    # -- config service --------------------------------------------------------------------------
    failover_mode: FailoverMode = Field(FailoverMode.AUTOMATIC, description="of shards that do not say otherwise")
    configservice_user: str = Field("", description="role on the shards that may operate them; empty: the instance's")
    configservice_password_ref: str = Field("", description="its password: env:NAME or file:/path")
    probe_interval_seconds: PositiveFloat = Field(0.5, description="the config service asks each instance this often")
    probe_seconds: PositiveFloat = Field(1.0, description="bound of one such question")
    primary_silence_seconds: PositiveFloat = Field(1.5, description="a primary this long silent may be dead")
    stream_silence_seconds: PositiveFloat = Field(
        2.5, description="a standby says so too once its WAL stream is this long silent; see failover"
    )
    configservice_lease_seconds: PositiveFloat = Field(3.0, description="a leader silent for longer is put out")
    failover_action_seconds: PositiveFloat = Field(2.0, description="one statement on an instance in a failover")
    promotion_seconds: PositiveFloat = Field(30.0, description="then another candidate is taken")
    switchover_hold_seconds: PositiveFloat = Field(5.0, description="a switchover holds writes this long at most")
    switchover_drain_seconds: PositiveFloat = Field(0.5, description="transactions under way may end within this")
    switchover_max_lag_bytes: PositiveInt = Field(16 * 1024 * 1024, description="a target further behind is refused")
    rejoin_max_lag_bytes: PositiveInt = Field(16 * 1024 * 1024, description="a replica again from here on")
    strike_off_seconds: float = Field(86400.0, ge=0, description="the log is kept so long for who is away; 0: for ever")
    instance_allow_list: Annotated[CommaSeparated, AfterValidator(check_allow_list)] = Field(
        "127.0.0.0/8:*,[::1]:*,10.0.0.0/8:5432,172.16.0.0/12:5432,192.168.0.0/16:5432,[fc00::/7]:5432",
        description="NETWORK:PORTS where instances may be added; ports: a number, a range or *",
    )
    instance_answer_seconds: PositiveFloat = Field(5.0, description="an instance to be added answers within this")
    standby_loss_seconds: PositiveFloat = Field(
        1.5, description="a replica this long silent is waited for no more, where durability may degrade"
    )
    configservice_metrics_bind: str = Field(
        "", pattern=_BIND, description="host:port of its /metrics and /healthz, without a key; empty: nowhere"
    )

    # -- shard proxy -----------------------------------------------------------------------------
    shardproxy_user: str = Field(
        "", description="role by which run_shardproxy watches: pg_monitor, pg_signal_backend; empty: the instance's own"
    )
    shardproxy_password_ref: str = Field(
        "", pattern=r"^$|^env:.+|^file:/.+", description="where its password is: env:NAME or file:/absolute/path"
    )
    shardproxy_metrics_bind: str = Field(
        "", pattern=_BIND, description="host:port of its /metrics and /healthz, without a key; empty: nowhere"
    )
    shardproxy_answer_seconds: PositiveFloat = Field(1.0, description="an instance answers within this or is away")
    shardproxy_backoff_seconds: PositiveFloat = Field(2.0, description="longest pause before it is asked again")
    shardproxy_vitals_seconds: PositiveFloat = Field(5.0, description="connections, lag, slots are measured this often")
    shardproxy_size_seconds: PositiveFloat = Field(60.0, description="the size of a database is measured this often")
    shardproxy_stop_seconds: PositiveFloat = Field(10.0, description="run_shardproxy has so long to stop")
    killer_interval_seconds: PositiveFloat = Field(0.5, description="sessions of an instance are looked at this often")
    killer_slack_seconds: float = Field(
        0.25, ge=0, description="past the budget of its class a session of ours has so long: the server cancels first"
    )
    killer_grace_seconds: PositiveFloat = Field(2.0, description="from the cancel of a statement to its session's end")
    killer_foreign_query_seconds: PositiveFloat = Field(20.0, description="a statement of a foreign session")
    killer_foreign_idle_seconds: PositiveFloat = Field(
        10.0, description="a pause of a foreign session in a transaction, or anywhere while no connection is free"
    )
    killer_foreign_blocking_seconds: PositiveFloat = Field(
        5.0, description="a foreign transaction whose lock one of ours waits for"
    )
    killer_spared_applications: CommaSeparated = Field(
        "pg_dump,pg_dumpall,pg_restore,vacuumdb,reindexdb", description="application_name of sessions never ended"
    )
    kill_max_waiting: PositiveInt = Field(1000, description="kills kept in memory while the control database is down")
    kill_retention_seconds: PositiveInt = Field(30 * 86400, description="kills stay in the control database")
    kills_max_items: PositiveInt = Field(500, description="kills in one answer")

    # -- catalogue -------------------------------------------------------------------------------
    catalogue_lock_seconds: PositiveFloat = Field(2.0, description="one writer of the catalogue waits for another")
    catalogue_import_max_items: PositiveInt = Field(1000, description="entries in one import; beyond it 422")
    catalogue_sync_shard_seconds: PositiveFloat = Field(5.0, description="one shard takes in one batch of changes")

    # -- queries ---------------------------------------------------------------------------------
    stats_max_buckets: PositiveInt = Field(1500, description="buckets in one answer; beyond it 422")
    counts_query_max_videos: PositiveInt = 500
    top_max_limit: PositiveInt = 500
    receipt_log_entries: PositiveInt = Field(200, description="a receipt looks through so many entries of the log")
    readiness_probe_seconds: PositiveFloat = Field(1.0, description="readyz asks one part; its answer is kept as long")

    hot_read_threads: PositiveInt = Field(8, description="of a web process, for counts that it has not kept")
    hot_read_max_waiting: PositiveInt = Field(256, description="different counts asked for at once; beyond it 503")
    hot_read_max_bodies: PositiveInt = Field(4096, description="answers that a web process has ready to be sent")
    hot_read_seconds: PositiveFloat = Field(5.0, description="one of them, its wait for a thread included; then 504")

    # -- result cache ----------------------------------------------------------------------------
    result_cache: bool = Field(True, description="keep answers; off: every read asks the shards")
    cache_fresh_seconds: float = Field(1.0, ge=0, description="an answer that may change is used again this long")
    cache_stale_seconds: NonNegativeInt = Field(
        86400, description="an expired answer is kept this long, for when its shard does not answer"
    )
    cache_generation_seconds: float = Field(0.5, ge=0, description="a correction of closed windows is seen within this")
    cache_max_bytes: PositiveInt = Field(64 * 1024 * 1024, description="answers in the memory of a process")
    cache_max_entries: PositiveInt = Field(100_000, description="answers in the memory of a process")
    cache_entry_max_bytes: PositiveInt = Field(512 * 1024, description="a longer answer is not kept")
    cache_wait_seconds: PositiveFloat = Field(5.0, description="a reader waits so long for one that asks the same")
    cache_max_followers: PositiveInt = Field(1000, description="readers that wait for one; more ask for themselves")
    shared_cache_timeout_seconds: PositiveFloat = Field(0.1, description="one call to the cache that processes share")
    shared_cache_open_seconds: PositiveFloat = Field(1.0, description="after a failure it is left alone this long")
    shared_cache_max_connections: PositiveInt = Field(8, description="connections to it, a process")
    closed_max_age_seconds: NonNegativeInt = Field(
        3600, description="clients may keep answers about closed windows this long without asking"
    )

    # -- replay ----------------------------------------------------------------------------------
    replay_seconds: PositiveFloat = Field(900.0, description="a whole replay, retries and waiting included")
    replay_request_seconds: PositiveFloat = Field(10.0, description="one attempt of a replay's request")

    # -- processes -------------------------------------------------------------------------------
    web_workers: PositiveInt = Field(1, description="gunicorn worker processes; one a core")
    web_graceful_seconds: PositiveInt = Field(10, description="requests under way may end within this at a stop")
    web_linger_seconds: PositiveFloat = Field(1.0, description="a stopping process answers on open connections so long")
    web_max_connections: PositiveInt = Field(2000, description="open connections of a web process; beyond it 503")
    web_head_seconds: PositiveFloat = Field(10.0, description="a client has this long to send the head of a request")
    web_head_max_bytes: PositiveInt = Field(32_768, description="address and headers of a request; beyond it 431")
    web_head_max_headers: PositiveInt = Field(100, description="headers of a request; beyond it 431")
    web_silent_seconds: PositiveInt = Field(30, description="a web worker silent for longer is killed")
    worker_metrics_bind: str = Field(
        "", pattern=_BIND, description="host:port of a worker's /metrics and /healthz, without a key; empty: nowhere"
    )
    beat_metrics_bind: str = Field("", pattern=_BIND, description="the same for beat")
    worker_processes: PositiveInt = Field(2, description="Celery pool processes of the local cluster")

    cluster_interval_seconds: PositiveFloat = Field(10.0, description="the cluster is measured for metrics this often")
    service_heartbeat_seconds: PositiveFloat = Field(2.0, description="each process says that it lives this often")
    service_lost_seconds: PositiveFloat = Field(10.0, description="one that is silent for longer is shown as lost")
    service_forget_seconds: PositiveFloat = Field(600.0, description="and after this no more")

    # -- local cluster ---------------------------------------------------------------------------
    local_shards: PositiveInt = 2
    local_replicas_per_shard: NonNegativeInt = 1
    local_movers: NonNegativeInt = Field(1, description="0: moves wait until manage.py moves resume")
    local_partitions: PositiveInt = Field(32, description="fixed by the first start")
    local_ready_seconds: PositiveFloat = Field(90.0, description="a server or process must be ready within this")
    local_stop_seconds: PositiveFloat = Field(90.0, description="bin/down kills what still runs after this")
    postgres_bin_dir: Path | None = Field(None, description="PostgreSQL programs instead of the wheel's")
    valkey_server: Path | None = Field(None, description="Valkey server program instead of the wheel's")


@cache
def get_config() -> Config:
    """The settings of this process, read once. Raises pydantic's ValidationError naming each bad one."""
    state_dir = os.environ.get("VIEWCOUNTER_STATE_DIR", str(PROJECT_ROOT / ".local"))
    env_file = os.environ.get("VIEWCOUNTER_ENV_FILE", str(Path(state_dir, "env")))
    secrets_dir = os.environ.get("VIEWCOUNTER_SECRETS_DIR") or None
    return Config(_env_file=env_file, _secrets_dir=secrets_dir)  # type: ignore[call-arg]
