"""Settings of the catalogue, of queries and of cached answers."""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings


class ReadsConfig(BaseSettings):
    """Catalogue, queries and cached answers."""

    # -- catalogue -----------------------------------------------------------------------------------
    catalogue_lock_seconds: PositiveFloat = Field(2.0, description="one writer of the catalogue waits for another")
    catalogue_import_max_items: PositiveInt = Field(1000, description="entries in one import; beyond it 422")
    catalogue_sync_shard_seconds: PositiveFloat = Field(5.0, description="one shard takes in one batch of changes")

    # -- queries -------------------------------------------------------------------------------------
    stats_max_buckets: PositiveInt = Field(1500, description="buckets in one answer; beyond it 422")
    counts_query_max_videos: PositiveInt = 500
    top_max_limit: PositiveInt = 500
    receipt_log_entries: PositiveInt = Field(200, description="a receipt looks through so many entries of the log")
    readiness_probe_seconds: PositiveFloat = Field(1.0, description="readyz asks one part; its answer is kept as long")

    hot_read_threads: PositiveInt = Field(8, description="of a web process, for counts that it has not kept")
    hot_read_max_waiting: PositiveInt = Field(256, description="different counts asked for at once; beyond it 503")
    hot_read_max_bodies: PositiveInt = Field(4096, description="answers that a web process has ready to be sent")
    hot_read_seconds: PositiveFloat = Field(5.0, description="one of them, its wait for a thread included; then 504")

    # -- result cache --------------------------------------------------------------------------------
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
