"""What a worker process keeps between drains: its drainer with id cache and local catalogue, and the drain marks.

Made on first use, after the fork: connections and threads do not survive one.
"""

import os
from functools import cache

from viewcounter.cluster import get_cluster, get_cluster_id
from viewcounter.config import Config, get_config
from viewcounter.deadletters.isolation import IsolationSettings, PoisonIsolator
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.consumer import FlushLimits
from viewcounter.processing.drain import Drainer, DrainSettings
from viewcounter.processing.drain_queue import DrainQueue
from viewcounter.processing.enrichment import Enrichment
from viewcounter.processing.known_ids import IdCache, PieceLimits
from viewcounter.processing.shard_throttle import StrainPolicy
from viewcounter.processing.shutdown import is_stopping
from viewcounter.processing.trimming import AppliedEarlier
from viewcounter.storage.dead_letter_limits import DeadLetterLimits


def get_drain_queue() -> DrainQueue:
    return _get_drain_queue(os.getpid())


def get_drainer() -> Drainer:
    return _get_drainer(os.getpid())


def get_applied_earlier() -> AppliedEarlier:
    return _get_applied_earlier(os.getpid())


@cache
def _get_applied_earlier(_pid: int) -> AppliedEarlier:
    return AppliedEarlier(safety_seconds=get_config().trim_safety_seconds)


@cache
def _get_drain_queue(_pid: int) -> DrainQueue:
    config = get_config()
    return DrainQueue(
        config.cache_url.get_secret_value(),
        get_cluster_id=get_cluster_id,
        queued_seconds=config.drain_queued_seconds,
        lease_seconds=config.drain_lease_seconds,
        timeout_seconds=config.broker_timeout_seconds,
        strain=StrainPolicy.from_config(config),
    )


@cache
def _get_drainer(_pid: int) -> Drainer:
    config = get_config()
    return Drainer(
        cluster=get_cluster(),
        log=get_event_log(),
        ids=IdCache(max_bytes=config.id_cache_max_bytes),
        lease=get_drain_queue(),
        poison=_build_isolator(config),
        find_copies=Enrichment.start(config).find_copies,
        settings=build_drain_settings(config),
        is_stopping=is_stopping,
    )


def build_drain_settings(config: Config) -> DrainSettings:
    return DrainSettings(
        budget_seconds=config.drain_budget_seconds,
        flush=FlushLimits(
            max_events=config.flush_max_events,
            max_bytes=config.flush_max_bytes,
            max_keys=config.flush_max_keys,
            max_seconds=config.flush_max_seconds,
        ),
        flush_max_conflicts=config.flush_max_conflicts,
        id_pieces=PieceLimits(max_pieces=config.id_pieces_max, small_ids=config.id_pieces_small_ids),
        max_queued_batches=config.flush_queue_batches,
        log_read_entries=config.log_read_entries,
        dead_letters=_get_dead_letter_limits(config),
    )


def _get_dead_letter_limits(config: Config) -> DeadLetterLimits:
    return DeadLetterLimits(
        run_max=config.dead_letter_run_max,
        ratio_max=config.dead_letter_ratio_max,
        ratio_min_read=config.dead_letter_ratio_min_events,
        window_seconds=config.dead_letter_window_seconds,
    )


def _build_isolator(config: Config) -> PoisonIsolator:
    return PoisonIsolator(
        cluster=get_cluster(),
        settings=IsolationSettings(
            limits=_get_dead_letter_limits(config),
            max_seconds=config.isolation_seconds,
            max_trials=config.isolation_max_trials,
        ),
        renew=get_drain_queue().renew,
    )
