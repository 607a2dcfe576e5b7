"""One run from the sample to the report: import the catalogue, read present counts, send, wait, compare."""

import time
from collections.abc import Callable, Container
from datetime import datetime
from enum import StrEnum

from viewcounter_client import queries
from viewcounter_client.queries import TopItem

from devtools.replay.bad_events import create_spoilers
from devtools.replay.batches import build_batches
from devtools.replay.comparison import find_wrong_counts, read_counts, read_hours, read_totals
from devtools.replay.dataset import read_dataset
from devtools.replay.plan import ReplayOptions, RunPlan, plan_run
from devtools.replay.report import LISTED_MAX, Report
from devtools.replay.sender import SendTally, send_batches
from devtools.replay.service import ReplayTarget
from devtools.replay.truth import Counts
from devtools.settings import DevtoolsConfig

TOP_VIDEO_COUNT = 10
TITLE_SECONDS = 15.0
"""The shards hear of titles at intervals (10 s, unless set otherwise): the report waits at most this long for them."""
TITLE_POLL_SECONDS = 0.5


class Step(StrEnum):
    CATALOGUE = "catalogue"
    BASELINE = "baseline"
    SEND = "send"
    WAIT = "wait"
    COMPARE = "compare"


OnProgress = Callable[[Step, int, int | None], None]
"""Called with the step, its progress, and its total (None: unknown)."""


def run_replay(options: ReplayOptions, *, config: DevtoolsConfig, now: datetime, on_progress: OnProgress) -> Report:
    """Raises ReplayError if the run cannot be completed; wrong counts are in the report."""
    started = time.monotonic()
    plan = plan_run(options, dataset=read_dataset(), config=config, now=now)
    service = ReplayTarget(
        url=options.url.rstrip("/"),
        key=options.key,
        request_seconds=config.replay.request_seconds,
        deadline=started + config.replay.seconds,
        connections=options.threads,
    )
    try:
        service.check_answers()
        on_progress(Step.CATALOGUE, 0, None)
        service.import_catalogue(channels=plan.dataset.channels(), videos=plan.dataset.videos())
        on_progress(Step.BASELINE, 0, None)
        before = read_counts(service, plan.subject, until=now, threads=options.threads)
        sending_started = time.monotonic()
        tally = _send(plan, options=options, service=service, config=config, now=now, on_progress=on_progress)
        accepted_at = time.monotonic()
        on_progress(Step.WAIT, 0, None)
        until = tally.acknowledged_until
        totals = read_totals(service, plan.subject, until=until, threads=options.threads)
        queryable_at = time.monotonic()
        on_progress(Step.COMPARE, 0, None)
        hours = read_hours(service, plan.subject, until=until, threads=options.threads)
        top = _read_top(service, titled={video.video_id for video in plan.dataset.videos()})
    finally:
        service.close()
    return build_report(
        plan,
        url=service.url,
        tally=tally,
        retries=service.retries,
        growth=Counts(totals=totals - before.totals, hours=hours - before.hours),
        sending_seconds=accepted_at - sending_started,
        queryable_seconds=queryable_at - sending_started,
        total_seconds=time.monotonic() - started,
        top=top,
    )


def _read_top(service: ReplayTarget, *, titled: Container[str]) -> tuple[TopItem, ...]:
    """The list, as soon as each of its videos that is in `titled` has its title; after TITLE_SECONDS as it is."""
    give_up_at = time.monotonic() + TITLE_SECONDS
    while True:
        top = service.query(queries.top(limit=TOP_VIDEO_COUNT)).items
        if all(item.title for item in top if item.video_id in titled) or time.monotonic() >= give_up_at:
            return top
        if service.stop.wait(TITLE_POLL_SECONDS):
            return top


def _send(
    plan: RunPlan,
    *,
    options: ReplayOptions,
    service: ReplayTarget,
    config: DevtoolsConfig,
    now: datetime,
    on_progress: OnProgress,
) -> SendTally:
    spoilers = create_spoilers(
        sent_at=now,
        accept_window_seconds=config.accept.past_seconds,
        accept_future_seconds=config.accept.future_seconds,
        sending_seconds=config.replay.seconds,
    )
    batches = build_batches(
        plan.stream, timeline=plan.timeline, batch_events=options.batch_events, spoilers=spoilers, rng=plan.rng
    )
    return send_batches(
        service,
        batches,
        threads=options.threads,
        use_gzip=options.use_gzip,
        on_progress=lambda done: on_progress(Step.SEND, done, len(plan.stream)),
    )


def build_report(
    plan: RunPlan,
    *,
    url: str,
    tally: SendTally,
    retries: int,
    growth: Counts,
    sending_seconds: float,
    queryable_seconds: float,
    total_seconds: float,
    top: tuple[TopItem, ...],
) -> Report:
    """`growth`: increase of the service's counts since before the run."""
    wrong_counts = find_wrong_counts(plan.subject, expected=plan.growth, actual=growth)
    return Report(
        nonce=str(plan.nonce),
        url=url,
        videos=len(plan.timeline.videos),
        channels=len(plan.dataset.channels()),
        days=plan.dataset.day_span,
        sent=len(plan.timeline),
        duplicates_sent=int(plan.stream.is_duplicate.sum()),
        accepted=tally.accepted,
        duplicates_dropped=tally.accepted - int(growth.totals.sum()),
        refused=dict(tally.refused),
        refused_count=tally.refused.total(),
        expected_refused_count=int(plan.stream.is_bad.sum()),
        retries=retries,
        compared_counts=growth.totals.size + growth.hours.size,
        wrong_count=len(wrong_counts),
        wrong_counts=tuple(wrong_counts[:LISTED_MAX]),
        wrongly_refused=tuple(tally.wrongly_refused[:LISTED_MAX]),
        wrongly_accepted=tuple(tally.wrongly_accepted[:LISTED_MAX]),
        sending_seconds=round(sending_seconds, 3),
        queryable_seconds=round(queryable_seconds, 3),
        total_seconds=round(total_seconds, 3),
        events_per_second_accepted=round(tally.accepted / sending_seconds, 1),
        events_per_second_queryable=round(tally.accepted / queryable_seconds, 1),
        top=top,
    )
