"""A drainer with small limits, so that a few hundred events take many flushes."""

from viewcounter.processing.drain import Drainer
from viewcounter.processing.known_ids import IdCache
from viewcounter.processing.settings import DrainSettings, FlushLimits, PieceLimits
from viewcounter.storage.settings import DeadLetterLimits

DEAD_LETTERS = DeadLetterLimits(run_max=10, ratio_max=0.5, ratio_min_events=100, window_seconds=60.0)

FEW_PIECES = PieceLimits(max_pieces=2, small_ids=30)


def make_drainer(
    cluster,
    log,
    *,
    flush_max_events=50,
    read_entries=3,
    budget_seconds=20.0,
    ids=None,
    dead_letters=DEAD_LETTERS,
    id_pieces=FEW_PIECES,
    **parts,
):
    return Drainer(
        cluster=cluster,
        log=log,
        ids=ids or IdCache(max_bytes=10_000),
        settings=DrainSettings(
            budget_seconds=budget_seconds,
            flush=FlushLimits(max_events=flush_max_events, max_bytes=10**6, max_keys=10**6, max_seconds=60.0),
            flush_max_conflicts=5,
            id_pieces=id_pieces,
            max_queued_batches=2,
            log_read_entries=read_entries,
            dead_letters=dead_letters,
        ),
        **parts,
    )
