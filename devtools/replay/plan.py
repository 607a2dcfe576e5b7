"""The plan of a run, made before its first request. Pure: the same options and nonce give the same plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from devtools.replay.batches import Stream, plan_stream
from devtools.replay.dataset import Dataset
from devtools.replay.errors import BadReplayOption
from devtools.replay.nonce import Nonce
from devtools.replay.timeline import Timeline, TimelinePlan, check_fits_window, plan_timeline
from devtools.replay.truth import Counts, TruthSubject, choose_videos, count_events, count_events_by_hour, get_hours
from devtools.settings import DevtoolsConfig

CLOSE_VIDEO_COUNT = 50
"""Videos whose hours are compared too."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """`nonce` repeats a finished run, all of whose events must be recognised as duplicates; the other options must be
    those of that run."""

    url: str
    key: str
    scale: int
    day_length_seconds: float
    duplicate_share: float
    bad_share: float
    batch_events: int
    threads: int
    seed: int
    use_gzip: bool = False
    limit_days: int | None = None
    max_events: int | None = None
    nonce: Nonce | None = None

    def check(self, config: DevtoolsConfig) -> None:
        """Raises BadReplayOption, naming the option."""
        if not 1 <= self.batch_events <= config.request.max_events:
            raise BadReplayOption(f"--batch: 1 to {config.request.max_events} events in a request")
        for name, share in (("--duplicates", self.duplicate_share), ("--invalid", self.bad_share)):
            if not 0 <= share <= 1:
                raise BadReplayOption(f"{name}: a share from 0 to 1")
        numbers = {
            "--scale": self.scale,
            "--day-length": self.day_length_seconds,
            "--threads": self.threads,
            "--limit-days": self.limit_days,
            "--max-events": self.max_events,
        }
        for name, number in numbers.items():
            if number is not None and number <= 0:
                raise BadReplayOption(f"{name}: more than zero")


def read_replay_options(options: Mapping[str, Any], *, url: str, key: str) -> ReplayOptions:
    return ReplayOptions(
        url=url,
        key=key,
        scale=options["scale"],
        day_length_seconds=options["day_length"],
        duplicate_share=options["duplicates"],
        bad_share=options["invalid"],
        batch_events=options["batch"],
        threads=options["threads"],
        seed=options["seed"],
        use_gzip=options["gzip"],
        limit_days=options["limit_days"],
        max_events=options["max_events"],
        nonce=options["nonce"],
    )


@dataclass(frozen=True, slots=True)
class RunPlan:
    """`growth`: the increase of counts that the run must cause. `rng`: generates the ids of the invalid events."""

    nonce: Nonce
    dataset: Dataset
    timeline: Timeline
    stream: Stream
    subject: TruthSubject
    growth: Counts
    rng: np.random.Generator


def plan_run(options: ReplayOptions, *, dataset: Dataset, config: DevtoolsConfig, now: datetime) -> RunPlan:
    """Raises BadReplayOption for events that the service would refuse."""
    options.check(config)
    dataset = dataset if options.limit_days is None else dataset.limit_days(options.limit_days)
    nonce = options.nonce or Nonce.create(now=now)
    timeline = _plan_timeline(options, dataset=dataset, nonce=nonce, config=config, now=now)
    close_videos = choose_videos(timeline, count=CLOSE_VIDEO_COUNT, seed=options.seed)
    rng = np.random.default_rng([options.seed, nonce.end_ms, nonce.salt])
    stream = plan_stream(
        len(timeline),
        duplicate_share=options.duplicate_share,
        bad_share=options.bad_share,
        batch_events=options.batch_events,
        rng=rng,
    )
    growth = Counts(
        totals=count_events(timeline),
        hours=count_events_by_hour(timeline, videos=close_videos),
    )
    if options.nonce is not None:
        growth = Counts(totals=np.zeros_like(growth.totals), hours=np.zeros_like(growth.hours))
    subject = TruthSubject(
        videos=timeline.videos,
        close_videos=tuple(timeline.videos[index] for index in close_videos),
        hours=get_hours(timeline),
    )
    return RunPlan(nonce, dataset, timeline, stream=stream, subject=subject, growth=growth, rng=rng)


def _plan_timeline(
    options: ReplayOptions, *, dataset: Dataset, nonce: Nonce, config: DevtoolsConfig, now: datetime
) -> Timeline:
    plan = TimelinePlan(options.scale, options.day_length_seconds, seed=options.seed, max_events=options.max_events)
    check_fits_window(
        plan,
        day_count=dataset.day_span,
        accept_window_seconds=config.accept.past_seconds,
        sent_after_seconds=now.timestamp() - nonce.end_ms / 1000 + config.replay.seconds,
    )
    timeline = plan_timeline(dataset, plan=plan, nonce=nonce)
    if not len(timeline):
        raise BadReplayOption("no events at all: choose a smaller --scale")
    return timeline
