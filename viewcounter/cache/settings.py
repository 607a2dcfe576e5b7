"""Settings of the cache that processes share, and of the answers that a process keeps in memory."""

from dataclasses import dataclass

from pydantic import SecretStr

from runtime.settings import setting


@dataclass(frozen=True, slots=True)
class SharedCacheSettings:
    """Cache server."""

    url: SecretStr = setting(
        SecretStr("redis://127.0.0.1:6380/1"),
        "Address of the Valkey server that holds the published topology, queue markers and shared answers.",
    )
    secret: SecretStr | None = setting(
        None,
        "Secret that authenticates values in the cache, the same on every host, at least 32 characters; unset:"
        " VIEWCOUNTER_SECRET_KEY.",
        min_length=32,
    )
    timeout_seconds: float = setting(0.1, "Maximum duration of one call to the cache server; then it has failed.")
    open_seconds: float = setting(1.0, "Time for which a cache server that failed gets no further calls.")
    max_connections: int = setting(8, "Maximum number of connections of a process to the cache server.")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """`fresh_seconds` after it was read an answer expires, and `stale_seconds` after it is gone."""

    fresh_seconds: float
    stale_seconds: float


@dataclass(frozen=True, slots=True)
class ReadCacheSettings:
    """Cached answers to reads."""

    enabled: bool = setting(True, "Whether answers to reads are kept; without it every read queries the shards.")
    fresh_seconds: float = setting(
        1.0, "Time for which an answer that may still change is reused; 0: it is not reused.", ge=0
    )
    stale_seconds: int = setting(
        86400, "Time for which an expired answer is kept, to be served while its shard does not answer.", ge=0
    )
    generation_seconds: float = setting(
        0.5, "Time within which readers see a correction of a time window that was closed already.", ge=0
    )
    max_bytes: int = setting(
        64 * 1024 * 1024, "Maximum memory of a process for answers; beyond it the least recent ones are dropped."
    )
    max_entries: int = setting(
        100_000, "Maximum number of answers in the memory of a process; beyond it the least recent ones are dropped."
    )
    entry_max_bytes: int = setting(512 * 1024, "Maximum size of an answer that is kept; a longer one is not kept.")
    wait_seconds: float = setting(
        5.0, "Maximum wait of a reader for another one that reads the same; then it queries the shard itself."
    )
    max_followers: int = setting(
        1000, "Maximum number of readers that wait for one that reads the same; further ones query the shard."
    )

    @property
    def lifetimes(self) -> Lifetimes:
        return Lifetimes(self.fresh_seconds, self.stale_seconds)
