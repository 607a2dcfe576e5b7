"""Part `read`: reads over HTTP, one gateway worker alone on a core, everything else on the others.

Cached answers in closed loops measure capacity. Uncached answers in open loops at a fixed rate measure latency, also by
number of events and by number of shards.
"""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from devtools.bench.defaults import TITLES
from devtools.bench.errors import BenchMiscount
from devtools.bench.event_stream import TYPE_NAMES, VIDEOS
from devtools.bench.history import History, make_history
from devtools.bench.history_loading import count_rows, load_history
from devtools.bench.http_load import Load, run_closed, run_open
from devtools.bench.part import BenchContext
from devtools.bench.pinning import pinned
from devtools.bench.questions import Question, Request, build_request_stream, list_questions
from devtools.bench.read_report import Reading, ReadPlace, ReadRun, Way, describe_reads
from devtools.bench.report import PartReport
from devtools.bench.usage import list_servers, read_cpu_seconds
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.spec import WEB

OPEN_CONNECTIONS = 64
CHECKED_VIDEOS = (0, 1, 100, 19_999)
ANSWER_SECONDS = 10.0
SPEC = ClusterSpec()
"""Two shards with a streaming replica each, as `bin/up` starts them."""
_SEED = 1


@dataclass(frozen=True, slots=True)
class ReadMix:
    """`sizes`: events, ascending; at the largest everything is measured. `shards`: other numbers, at that size."""

    sizes: tuple[int, ...]
    shards: tuple[int, ...]
    warm_seconds: float
    closed_seconds: float
    open_seconds: float
    with_fresh_closed: bool


FULL = ReadMix(
    (1_000_000, 3_000_000, 10_000_000),
    (1, 4),
    warm_seconds=0.5,
    closed_seconds=3,
    open_seconds=4,
    with_fresh_closed=True,
)
QUICK = ReadMix((200_000,), (), warm_seconds=0.2, closed_seconds=0.6, open_seconds=0.5, with_fresh_closed=False)


@dataclass(slots=True)
class _Bench:
    """The cluster that is read from."""

    context: BenchContext
    plan: ReadMix
    place: ReadPlace
    address: tuple[str, int]
    token: str
    roots: dict[str, list[int]]
    questions: tuple[Question, ...]
    readings: list[Reading] = field(default_factory=list)


class ReadPart:
    name = "read"
    title = TITLES[name]

    def run(self, context: BenchContext) -> PartReport:
        plan = QUICK if context.quick else FULL
        *smaller, largest = plan.sizes
        readings: list[Reading] = []
        for size in smaller:
            with self._open(context, plan, SPEC, size) as bench:
                readings += _measure_fresh(bench, rounds=1)
        with self._open(context, plan, SPEC, largest) as bench:
            readings += _measure_all(bench)
        for shards in plan.shards:
            spec = replace(SPEC, shards=shards, replicas_per_shard=0)
            with self._open(context, plan, spec, largest) as bench:
                readings += _measure_fresh(bench, rounds=1)
        return describe_reads(readings, name=self.name, title=self.title)

    @contextmanager
    def _open(self, context: BenchContext, plan: ReadMix, spec: ClusterSpec, size: int) -> Iterator[_Bench]:
        """A cluster with `size` events and a running gateway."""
        cluster = context.clusters.get(spec)
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        history = make_history(event_count=size, partition_count=spec.partitions, now=now, seed=_SEED)
        _load(cluster, history, context)
        token = context.clusters.token
        url = urlsplit(cluster.web_url)
        web = cluster.application(WEB)
        web.start()
        try:
            web.wait_ready()
            bench = _Bench(
                context,
                plan,
                ReadPlace(size, spec.shards),
                address=(str(url.hostname), int(url.port or 80)),
                token=token,
                roots={"gateway": [web.pid], **list_servers(cluster)},
                questions=list_questions(now),
            )
            _check_answers(bench, history)
            with pinned(web.pid):
                _warm_up(bench)
                yield bench
        finally:
            web.stop()


def _load(cluster: LocalCluster, history: History, context: BenchContext) -> None:
    what, total, done = f"loading {history.event_count:,} events' aggregates", count_rows(history), 0

    def report_rows(rows: int) -> None:
        nonlocal done
        done += rows
        context.on_progress(what, done, total)

    load_history(cluster, history, on_rows=report_rows)


def _warm_up(bench: _Bench) -> None:
    """Fill pools of connections, plans of statements, and caches of pages."""
    for question in bench.questions:
        requests = _build_stream(bench, question.fresh[::-1])
        run_closed(
            bench.address,
            requests,
            connections=question.connections,
            warm_seconds=0,
            seconds=bench.plan.warm_seconds,
        )


def _measure_all(bench: _Bench) -> list[Reading]:
    """Fresh and kept, in closed and open loops."""
    readings = _measure_fresh(bench, rounds=bench.context.rounds)
    for number in range(bench.context.rounds):
        for place, question in enumerate(bench.questions):
            done = number * len(bench.questions) + place
            bench.context.on_progress("reading in closed loops", done, bench.context.rounds * len(bench.questions))
            readings.append(_read_closed(bench, question, question.kept, Way.KEPT))
            if question.is_endless and bench.plan.with_fresh_closed:
                readings.append(_read_closed(bench, question, question.fresh, Way.FRESH_CLOSED))
    total = bench.context.rounds * len(bench.questions)
    bench.context.on_progress("reading in closed loops", total, total)
    return readings


def _measure_fresh(bench: _Bench, *, rounds: int) -> list[Reading]:
    readings = []
    what = f"reading fresh answers from {bench.place.describe()}"
    for number in range(rounds):
        for place, question in enumerate(bench.questions):
            bench.context.on_progress(what, number * len(bench.questions) + place, rounds * len(bench.questions))
            readings.append(_read_open(bench, question))
    bench.context.on_progress(what, rounds * len(bench.questions), rounds * len(bench.questions))
    return readings


def _read_closed(bench: _Bench, question: Question, requests: tuple[Request, ...], way: Way) -> Reading:
    plan = bench.plan
    return _read(
        bench,
        question,
        way,
        lambda: run_closed(
            bench.address,
            _build_stream(bench, requests),
            connections=question.connections,
            warm_seconds=plan.warm_seconds,
            seconds=plan.closed_seconds,
        ),
    )


def _read_open(bench: _Bench, question: Question) -> Reading:
    return _read(
        bench,
        question,
        Way.FRESH,
        lambda: run_open(
            bench.address,
            _build_stream(bench, question.fresh),
            connections=OPEN_CONNECTIONS,
            per_second=question.per_second,
            seconds=bench.plan.open_seconds,
        ),
    )


def _read(bench: _Bench, question: Question, way: Way, run: Callable[[], Load]) -> Reading:
    before = read_cpu_seconds(bench.roots)
    load = run()
    after = read_cpu_seconds(bench.roots)
    spent = {name: (after[name] - before[name]) * 1_000_000 / load.answered_count for name in bench.roots}
    return Reading(
        bench.place,
        question.name,
        question.label,
        way,
        ReadRun(
            requests_per_second=load.per_second,
            p50_ms=load.get_percentile_ms(50),
            p99_ms=load.get_percentile_ms(99),
            answered_count=load.answered_count,
            gateway_us=spent["gateway"],
            shards_us=spent["primaries"] + spent["replicas"],
            generator_share=load.generator_share,
        ),
    )


def _build_stream(bench: _Bench, requests: tuple[Request, ...]) -> Iterator[bytes]:
    return build_request_stream(requests, host=f"{bench.address[0]}:{bench.address[1]}", token=bench.token)


def _check_answers(bench: _Bench, history: History) -> None:
    """Raises BenchMiscount if the answers differ from the loaded events."""
    by_name = {question.name: question for question in bench.questions}
    year = by_name["year"].fresh[0].path.partition("?")[2]
    names = {name: type_id for type_id, name in TYPE_NAMES.items()}
    for video in CHECKED_VIDEOS:
        totals = history.totals.select(history.totals.videos == video)
        loaded = dict(zip(totals.types.tolist(), totals.counts.tolist(), strict=True))
        counts = _get(bench, f"/v1/videos/{VIDEOS[video]}/counts")["counts"]
        told = {names[name]: count for name, count in counts.items() if count}
        views = _get(bench, f"/v1/videos/{VIDEOS[video]}/stats?{year}")["value"]
        if told != loaded or views != loaded.get(names["view"], 0):
            raise BenchMiscount(f"{VIDEOS[video]}: loaded {loaded}, counts say {told}, a year's views {views}")


def _get(bench: _Bench, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(*bench.address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {bench.token}"})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise BenchMiscount(f"GET {path} answers {response.status}: {content[:500]!r}")
    answer: dict[str, Any] = json.loads(content)
    return answer
