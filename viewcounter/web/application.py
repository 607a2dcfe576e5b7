"""ASGI application of a gateway: the ingest endpoint in front, all other requests to Django; start-up and shutdown."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from clusterproxy.errors import NoTopology
from clusterproxy.freshness import Progress
from configservice.registry.heartbeat import Heartbeat
from configservice.topology.model import Topology
from runtime.http.asgi import AsgiApplication, Receive, Send
from runtime.metrics import GATEWAYS_BY_VIEWER_KEY
from runtime.periodic import PeriodicTask
from viewcounter.apikeys.authentication import KeyAuthenticator
from viewcounter.apikeys.key_copy import KeyCopy
from viewcounter.apikeys.rate_limit import build_address_buckets, get_rate_limiter
from viewcounter.cache.macs import CacheValue, build_authenticator
from viewcounter.cluster import get_cluster, get_cluster_id
from viewcounter.config import Config, get_config
from viewcounter.eventlog.interface import EventLog
from viewcounter.eventlog.lag_notice import LagBoard
from viewcounter.eventlog.registry import build_lag_board, get_event_log
from viewcounter.events.viewer_keys import REREAD_SECONDS, ViewerNumbers
from viewcounter.ingest.endpoint import IngestEndpoint
from viewcounter.ingest.group_commit import GroupCommit
from viewcounter.ingest.idempotency import Idempotency, ResponseStore, SharedResponseStore
from viewcounter.ingest.load_shedding import LagWatch
from viewcounter.ingest.log_writer import GuardedLog
from viewcounter.ingest.settings import CommitSettings
from viewcounter.ingest.snippet import SNIPPET_PATH, Snippet
from viewcounter.ingest.spool import Spool
from viewcounter.ingest.wait_applied import AppliedWatch, ReadApplied
from viewcounter.queries.receipts import read_applied
from viewcounter.web.checked_requests import CheckedRequests
from viewcounter.web.django_shares import DjangoShares
from viewcounter.web.request import BodyReader, read_head
from viewcounter.web.site import Site

logger = logging.getLogger(__name__)

EVENTS_PATH = "/v1/events"
METHODS_OF_DJANGO = frozenset({"GET", "HEAD"})
"""Methods of EVENTS_PATH for Django, which reads raw events. The ingest endpoint answers every other one."""


class FastReads(Protocol):
    """ASGI application that answers reads in front of Django."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None: ...

    def close(self) -> None: ...


def get_cluster_topology() -> Topology:
    """Raises NoTopology until the cluster proxy of this process has a snapshot."""
    return get_cluster().topology


def read_cluster_progress(partitions: Collection[int]) -> Mapping[int, Progress]:
    """What the primaries have applied. One query takes no longer than a whole request may wait."""
    config = get_config()
    return read_applied(
        get_cluster(), partitions, deadline_seconds=min(config.wait_applied.seconds, config.cluster.scatter_seconds)
    )


class Gateway:
    """Opens nothing before its first request, so it may be made before the workers are forked."""

    def __init__(
        self,
        inner: AsgiApplication,
        *,
        config: Config | None = None,
        get_log: Callable[[], EventLog] = get_event_log,
        get_topology: Callable[[], Topology] = get_cluster_topology,
        start_heartbeat: Callable[[], Heartbeat] | None = None,
        read_applied_progress: ReadApplied = read_cluster_progress,
        responses: ResponseStore | None = None,
        build_reads: Callable[[AsgiApplication, KeyAuthenticator, BodyReader, Config], FastReads] | None = None,
        lag_board: LagBoard | None = None,
        key_copy: KeyCopy | None = None,
    ) -> None:
        """`inner` gets every request that is not answered in front of it; it need not support lifespan.

        `build_reads` makes the application of fast reads, which passes the requests that it does not answer to `inner`.

        `key_copy` is kept up to date while the process serves.

        `start_heartbeat` is called once the process serves; without it the process is in no registry.
        """
        config = config or get_config()
        self._get_topology = get_topology
        self._start_heartbeat = start_heartbeat
        self._shutdown_drain_seconds = config.commit.shutdown_seconds
        self._log = _build_log(config, get_log)
        self._spool_drain = PeriodicTask(
            "spool-drain",
            self._log.drain,
            interval_seconds=config.spool.drain_interval_seconds,
            first_after_seconds=config.spool.drain_interval_seconds,
        )
        self._commit = _build_commit(config.commit, self._log)
        self._keys = KeyAuthenticator(
            max_lookups=config.api_key.lookups_max, timeout_seconds=config.api_key.lookup_seconds
        )
        self._key_copy = key_copy
        self._applied = AppliedWatch(read_applied_progress, config.wait_applied)
        responses = _build_response_store(config) if responses is None else responses
        self._idempotency = Idempotency(responses, max_body_bytes=config.idempotency.answer_max_bytes)
        self._lag = _build_lag_watch(config, get_log, lag_board)
        self._snippet = Snippet()
        self._site = Site(config.site)
        self._viewers = _build_viewer_numbers(config)
        bodies = BodyReader(config.request)
        shares = DjangoShares(config.web, config.log_in)
        inner = CheckedRequests(inner, keys=self._keys, bodies=bodies, site=self._site, shares=shares)
        self._reads = None if build_reads is None else build_reads(inner, self._keys, bodies, config)
        self._inner: AsgiApplication = inner if self._reads is None else self._reads
        self._ingest = IngestEndpoint(
            applied=self._applied,
            idempotency=self._idempotency,
            commit=self._commit,
            keys=self._keys,
            get_topology=get_topology,
            limits=config.request,
            window=config.accept,
            retry_after_seconds=config.log.retry_after_seconds,
            viewers=self._viewers,
            limiter=get_rate_limiter(),
            lag=self._lag,
            site=self._site,
            bodies=bodies,
            addresses=build_address_buckets(config),
        )

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == EVENTS_PATH and scope["method"] not in METHODS_OF_DJANGO:
            await self._ingest(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == SNIPPET_PATH and self._is_acceptable(scope):
            await self._snippet(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            await self._inner(scope, receive, send)

    def _is_acceptable(self, scope: dict[str, Any]) -> bool:
        """False: for Django, which refuses the host or redirects to HTTPS before it resolves the path."""
        return self._site.is_acceptable(scope, read_head(scope["headers"]))

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        """The server sends the shutdown after its last request, or when it stops waiting for requests."""
        heartbeat: Heartbeat | None = None
        viewer_keys: asyncio.Task[None] | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await asyncio.to_thread(self._log.open)
                self._spool_drain.start()
                self._lag.start()
                await self._learn_topology()
                if self._key_copy is not None:  # after the topology, which says of which cluster the keys must be
                    await asyncio.to_thread(self._key_copy.start)
                _show_viewer_keys(self._viewers.key_fingerprints, ())
                viewer_keys = asyncio.create_task(self._follow_viewer_keys())
                heartbeat = None if self._start_heartbeat is None else self._start_heartbeat()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if viewer_keys is not None:
                    viewer_keys.cancel()
                self._spool_drain.stop()
                self._applied.close()
                await self._commit.close(timeout_seconds=self._shutdown_drain_seconds)
                await asyncio.to_thread(self._log.close)
                await self._idempotency.close()
                await asyncio.to_thread(self._lag.close)
                self._keys.close()
                if self._key_copy is not None:
                    await asyncio.to_thread(self._key_copy.close)
                self._ingest.close()
                if self._reads is not None:
                    self._reads.close()
                if heartbeat is not None:
                    await asyncio.to_thread(heartbeat.stop)
                get_rate_limiter().close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _follow_viewer_keys(self) -> None:
        """Also while no event with a viewer comes: an operator waits until every gateway shows the next key."""
        while True:
            await asyncio.sleep(REREAD_SECONDS)
            self._viewers.reread()

    async def _learn_topology(self) -> None:
        """Waits for the first topology snapshot here, so that no request does."""
        try:
            await asyncio.to_thread(self._get_topology)
        except NoTopology as error:
            logger.warning("starting without a topology, events get a 503 until there is one: %s", error)


def _build_commit(settings: CommitSettings, log: GuardedLog) -> GroupCommit:
    return GroupCommit(
        log,
        linger_seconds=settings.linger_ms / 1000,
        max_events=settings.max_events,
        buffer_max_events=settings.buffer_max_events,
        max_wait_seconds=settings.max_wait_seconds,
        entry_max_bytes=settings.entry_max_bytes,
    )


def _build_lag_watch(config: Config, get_log: Callable[[], EventLog], board: LagBoard | None) -> LagWatch:
    return LagWatch(
        build_lag_board(config) if board is None else board,
        config.shed_lag,
        get_log=get_log,
        full_share=config.log.full_share,
        interval_seconds=config.log.lag_interval_seconds,
    )


def _build_log(config: Config, get_log: Callable[[], EventLog]) -> GuardedLog:
    folder = config.spool.dir
    return GuardedLog(
        get_log,
        attempts=config.log.attempts,
        append_seconds=config.log.append_seconds,
        breaker_open_seconds=config.log.breaker_open_seconds,
        open_spool=None if folder is None else lambda: Spool(folder, max_bytes=config.spool.max_bytes),
    )


def _build_response_store(config: Config) -> SharedResponseStore:
    return SharedResponseStore(
        config.cache.url.get_secret_value(),
        get_cluster_id=get_cluster_id,
        authenticator=build_authenticator(CacheValue.IDEMPOTENCY, config),
        timeout_seconds=config.cache.timeout_seconds,
        open_seconds=config.cache.open_seconds,
        max_connections=config.cache.max_connections,
        claim_seconds=config.idempotency.claim_seconds,
        keep_seconds=config.idempotency.seconds,
    )


def _build_viewer_numbers(config: Config) -> ViewerNumbers:
    secret = config.secret_key if config.viewer_key is None else config.viewer_key
    return ViewerNumbers(secret.get_secret_value, on_change=_show_viewer_keys)


def _show_viewer_keys(fingerprints: Collection[str], gone: Collection[str]) -> None:
    for fingerprint in fingerprints:
        GATEWAYS_BY_VIEWER_KEY.labels(fingerprint).set(1)
    for fingerprint in gone:
        GATEWAYS_BY_VIEWER_KEY.labels(fingerprint).set(0)
