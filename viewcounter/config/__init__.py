"""Typed settings of the service: one section for each component, which is that component's own settings class.

Values come, first wins, from environment variables, from the `NAME=value` file named by `VIEWCOUNTER_ENV_FILE` (default
`.local/env`, which the local cluster writes), and from one file for each secret in `VIEWCOUNTER_SECRETS_DIR`. They are
read once. Only entry points (processes, commands, Django's settings, views) call `get_config`; components are passed
their section.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from clusterproxy.settings import ClusterSettings
from configservice.settings import ConfigServiceSettings
from runtime.logs import LogFormat
from runtime.settings import required, section, setting, split_commas
from shardproxy.settings import PoolSettings, ReaperSettings, WatchSettings
from viewcounter.api.settings import ApiSettings, HotReadSettings, StreamSettings
from viewcounter.apikeys.settings import ApiKeySettings, PublicKeyLimits, RateLimitSettings
from viewcounter.cache.settings import ReadCacheSettings, SharedCacheSettings
from viewcounter.catalogue.settings import CatalogueSettings
from viewcounter.config.project import PROJECT_ROOT
from viewcounter.config.reading import InvalidSettings, read_process_settings, read_settings
from viewcounter.controlplane.settings import ControlDatabaseSettings
from viewcounter.deadletters.settings import DeadLetterSettings
from viewcounter.eventlog.settings import LogSettings
from viewcounter.events.viewer_keys import check_viewer_keys
from viewcounter.health.settings import ReadinessSettings, ServiceSettings
from viewcounter.ingest.settings import (
    AcceptWindow,
    CommitSettings,
    IdempotencySettings,
    ShedLimits,
    SpoolSettings,
    WaitLimits,
)
from viewcounter.maintenance.settings import (
    AuditSettings,
    ControlBackupSettings,
    RecountSettings,
    RetentionSettings,
    RollupSettings,
    SketchSettings,
)
from viewcounter.moves.settings import MoveSettings
from viewcounter.processing.settings import (
    BeatSettings,
    BrokerSettings,
    DrainSettings,
    IsolationSettings,
    PullSettings,
    TrimSettings,
    WorkerSettings,
)
from viewcounter.queries.settings import SketchLimits
from viewcounter.shardwatch.settings import KillRecordSettings
from viewcounter.web.settings import AccessLog, LogInSettings, RequestLimits, SiteSettings, WebSettings

__all__ = ["Config", "InvalidSettings", "get_config", "read_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a process. Names carry their unit; sizes are bytes, times are seconds unless the name says ms."""

    debug: bool = setting(False, "Whether Django shows details of errors to clients; never in production.")
    secret_key: SecretStr = required(
        "Secret by which Django signs cookies, random, at least 50 characters. Before it is replaced, keep the old one"
        " as VIEWCOUNTER_VIEWER_KEY.",
        min_length=50,
    )
    viewer_key: SecretStr | None = setting(
        None,
        "Secret by which viewers are told apart, at least 32 characters; further lines of a file hold the next ones and"
        " the days from which they hold (sending.md). Unset: VIEWCOUNTER_SECRET_KEY.",
        parse=check_viewer_keys,
        is_reread=True,
    )
    silenced_checks: tuple[str, ...] = setting(
        (),
        "Ids of Django's system checks that do not apply here, such as security.W004, separated by commas.",
        parse=split_commas,
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", "Least level of log lines that are written, by any library too: DEBUG, INFO, WARNING or ERROR."
    )
    log_format: LogFormat = setting("text", "Format of log lines: text, or json for one JSON object a line.")
    access_log: AccessLog = setting(
        "none",
        "Requests that web processes write a log line of: none; failed: those answered with a status from 400 on; all.",
    )
    state_dir: Path = setting(
        PROJECT_ROOT / ".local", "Folder of files that survive a restart, such as the disk copy of the topology."
    )
    admin: Literal["none", "here", "only"] = setting(
        "none", "Whether a web process serves /admin/: none: no; here: beside the API; only: nothing but the admin."
    )

    site: SiteSettings = section(SiteSettings)
    web: WebSettings = section(WebSettings)
    log_in: LogInSettings = section(LogInSettings)
    control_database: ControlDatabaseSettings = section(ControlDatabaseSettings)
    log: LogSettings = section(LogSettings)
    broker: BrokerSettings = section(BrokerSettings)
    cache: SharedCacheSettings = section(SharedCacheSettings)

    accept: AcceptWindow = section(AcceptWindow)
    request: RequestLimits = section(RequestLimits)
    commit: CommitSettings = section(CommitSettings)
    spool: SpoolSettings = section(SpoolSettings)
    wait_applied: WaitLimits = section(WaitLimits)
    idempotency: IdempotencySettings = section(IdempotencySettings)
    shed_lag: ShedLimits = section(ShedLimits)
    api_key: ApiKeySettings = section(ApiKeySettings)
    public_key: PublicKeyLimits = section(PublicKeyLimits)
    rate_limit: RateLimitSettings = section(RateLimitSettings)

    drain: DrainSettings = section(DrainSettings)
    pull: PullSettings = section(PullSettings)
    trim: TrimSettings = section(TrimSettings)
    isolation: IsolationSettings = section(IsolationSettings)
    dead_letters: DeadLetterSettings = section(DeadLetterSettings)
    rollup: RollupSettings = section(RollupSettings)
    retention: RetentionSettings = section(RetentionSettings)
    sketch: SketchSettings = section(SketchSettings)
    audit: AuditSettings = section(AuditSettings)
    recount: RecountSettings = section(RecountSettings)
    control_backup: ControlBackupSettings = section(ControlBackupSettings)
    move: MoveSettings = section(MoveSettings)
    worker: WorkerSettings = section(WorkerSettings)
    beat: BeatSettings = section(BeatSettings)

    cluster: ClusterSettings = section(ClusterSettings)
    pool: PoolSettings = section(PoolSettings)
    configservice: ConfigServiceSettings = section(ConfigServiceSettings)
    shardproxy: WatchSettings = section(WatchSettings)
    reaper: ReaperSettings = section(ReaperSettings)
    kill: KillRecordSettings = section(KillRecordSettings)
    service: ServiceSettings = section(ServiceSettings)
    readiness: ReadinessSettings = section(ReadinessSettings)

    catalogue: CatalogueSettings = section(CatalogueSettings)
    api: ApiSettings = section(ApiSettings)
    hot_read: HotReadSettings = section(HotReadSettings)
    stream: StreamSettings = section(StreamSettings)
    read_cache: ReadCacheSettings = section(ReadCacheSettings)
    sketch_read: SketchLimits = section(SketchLimits)


@cache
def get_config() -> Config:
    """The settings of this process, read once. Raises InvalidSettings naming each bad one."""
    return read_process_settings(Config)
