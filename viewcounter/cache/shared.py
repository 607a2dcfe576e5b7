"""Cache entries that processes share, in Valkey. Without it reads are a little slower, and no answer changes.

Every call is bounded by a short timeout and by a breaker: a dead server costs nothing, a frozen one costs one caller
the timeout, once in the breaker's open time. The server also holds the queues of Celery. So entries are written with an
expiry, and only to a server that evicts such entries when its memory is full, instead of refusing tasks.

Writes are asynchronous: a thread sends waiting entries in one pipeline, for a tenth of the cost of single calls.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from configservice.errors import ClusterUnknown
from configservice.topology.cache_keys import format_cache_key
from configservice.topology.value_macs import ValueAuthenticator
from runtime.metrics import SHARED_CACHE_ERRORS
from runtime.periodic import PeriodicTask
from runtime.valkey import CacheBreaker, ValkeyError, build_pooled_client
from viewcounter.cache.memory import CacheEntry

logger = logging.getLogger(__name__)

KEY_PREFIX = "answer:2:"
"""Behind the cluster's id. The number grows with every new format of entries, so that two releases side by side do not
read each other's."""

POLICY_SECONDS = 30.0
"""How long the server's eviction policy is cached."""

GATHER_SECONDS = 0.02
"""Pause between two writes."""
WAITING_MAX_BYTES = 8 * 1024 * 1024
"""Bound of waiting entries; others are not shared: the server is too slow for them."""
STOP_SECONDS = 1.0

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CacheEntry)


class SharedCache:
    """Thread-safe. `keep_seconds`: expiry of an entry in the server."""

    def __init__(
        self,
        url: str,
        *,
        get_cluster_id: Callable[[], str],
        authenticator: ValueAuthenticator,
        timeout_seconds: float,
        open_seconds: float,
        max_connections: int,
        keep_seconds: float,
    ) -> None:
        self._get_cluster_id = get_cluster_id
        self._authenticator = authenticator
        self._keep_ms = max(1, int(keep_seconds * 1000))
        self._breaker = CacheBreaker(
            logger,
            open_seconds=open_seconds,
            failed="going on without the shared cache",
            recovered="the shared cache answers again",
        )
        self._may_store = False
        self._policy_until = 0.0
        self._lock = threading.Lock()  # guards what follows
        self._waiting: dict[str, CacheEntry] = {}
        self._waiting_bytes = 0
        self._is_closed = False
        self._writer = PeriodicTask(
            "shared-answers",
            self._write_behind,
            interval_seconds=None,
            first_after_seconds=None,
            on_end=self._write_waiting,
        )
        self._client = build_pooled_client(url, timeout_seconds=timeout_seconds, max_connections=max_connections)

    def find(self, keys: Sequence[str]) -> dict[str, CacheEntry]:
        """The entries that the server has; none when it does not answer."""
        if not self._breaker.try_pass():
            return {}
        try:
            prefix = self._build_prefix()
            values = self._client.mget([prefix + key for key in keys])
        except ClusterUnknown:
            return {}
        except ValkeyError as error:
            self._breaker.report_failure(error)
            return {}
        self._breaker.report_success()
        now = time.time()
        found = zip(keys, values, strict=True)
        return {key: entry for key, value in found if (entry := self._read(value, prefix + key, now=now)) is not None}

    def store(self, entries: Mapping[str, CacheEntry]) -> None:
        """Asynchronous; entries beyond `WAITING_MAX_BYTES` are dropped."""
        size = sum(len(entry.payload) for entry in entries.values())
        with self._lock:
            if self._is_closed or self._waiting_bytes + size > WAITING_MAX_BYTES:
                return
            self._waiting.update(entries)
            self._waiting_bytes += size
        self._writer.start()
        self._writer.wake()

    def close(self) -> None:
        """Waiting entries are still written, if that takes no longer than `STOP_SECONDS`."""
        with self._lock:
            self._is_closed = True
        self._writer.stop(timeout_seconds=STOP_SECONDS)
        self._client.close()

    def _write_behind(self) -> None:
        self._write_waiting()
        self._writer.pause(GATHER_SECONDS)

    def _write_waiting(self) -> None:
        with self._lock:
            entries, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if not entries or not self._breaker.try_pass():
            return
        try:
            prefix = self._build_prefix()
            if self._check_policy():
                with self._client.pipeline(transaction=False) as pipeline:
                    good_until = time.time() + self._keep_ms / 1000
                    for key, entry in entries.items():
                        name = prefix + key
                        value = self._authenticator.protect(_encoder.encode(entry), name=name, good_until=good_until)
                        pipeline.set(name, value, px=self._keep_ms)
                    pipeline.execute()
        except ClusterUnknown:
            return
        except ValkeyError as error:
            self._breaker.report_failure(error)
        else:
            self._breaker.report_success()

    def _build_prefix(self) -> str:
        """Raises ClusterUnknown."""
        return format_cache_key(self._get_cluster_id(), KEY_PREFIX)

    def _check_policy(self) -> bool:
        """Whether the server evicts entries when its memory is full, instead of refusing tasks of Celery."""
        now = time.monotonic()
        if now >= self._policy_until:
            memory = self._client.info("memory")
            may_store = not memory.get("maxmemory") or memory.get("maxmemory_policy") != "noeviction"
            if not may_store and self._policy_until == 0.0:
                logger.warning("the shared cache is not written: maxmemory-policy of its server is noeviction")
            self._may_store, self._policy_until = may_store, now + POLICY_SECONDS
        return self._may_store

    def _read(self, data: bytes | str | None, name: str, *, now: float) -> CacheEntry | None:
        """None for a value that no process of ours has written, or that cannot be decoded."""
        value = self._authenticator.read(data, name=name, now=now) if isinstance(data, bytes) else None
        if value is None:
            return None
        try:
            return _decoder.decode(value)
        except msgspec.DecodeError:
            SHARED_CACHE_ERRORS.inc()
            return None
