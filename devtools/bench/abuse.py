"""Part `abuse`: latency of well-behaved clients of a gateway under attack, and the memory of the gateway.

As in production the admin is served by a process of its own: log-ins attack that process, all others the gateway. The
attacker is a process at the lowest priority. The gateway has a core of its own; all other processes share the rest.
"""

import asyncio
import itertools
import json
import random
import statistics
import subprocess
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import psutil

from devtools.bench.attacks import MEBIBYTE, Attack, invent_token
from devtools.bench.defaults import TITLES
from devtools.bench.errors import BenchStepFailed
from devtools.bench.http_connection import Connection, check_answers
from devtools.bench.part import BenchContext
from devtools.bench.pinning import pinned
from devtools.bench.posts import make_posts
from devtools.bench.report import PartReport, ReportTable
from devtools.bench.step_process import spawn_step
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.applications import Web
from devtools.localcluster.web_beside import run_web_beside

CLIENTS = 4
POSTS_A_SECOND = 40.0
ANSWER_SECONDS = 10.0
END_SECONDS = 60.0
CONNECTIONS = {
    Attack.SLOW_HEADS: 10_000,
    Attack.HUGE_BODIES: 16,
    Attack.GZIP_BOMBS: 16,
    Attack.HEADER_FLOODS: 16,
    Attack.PACKED_OBJECTS: 16,
    Attack.INVENTED_KEYS: 32,
    Attack.INVENTED_KEYS_ELSEWHERE: 150,
    Attack.UNREAD_BODIES: 300,
    Attack.LOG_INS: 40,
    Attack.PAGES: 40,
}
QUICK_ATTACKS = (Attack.SLOW_HEADS, Attack.GZIP_BOMBS, Attack.INVENTED_KEYS)
QUICK_CONNECTIONS = 500
_KEY_HEX = 12


@dataclass(slots=True)
class AbuseFigures:
    """`outcomes` of the attack's requests; times and `failed` are of well-behaved clients. `web_cpu_share`: share of a
    core that the gateway process used."""

    attack: str
    connections: int
    outcomes: dict[str, int] = field(default_factory=dict)
    posts: int = 0
    failed: list[str] = field(default_factory=list)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    peak_rss_bytes: int = 0
    web_cpu_share: float = 0.0


class AbusePart:
    name = "abuse"
    title = TITLES[name]

    def __init__(self, spec: ClusterSpec) -> None:
        self._spec = spec

    def run(self, context: BenchContext) -> PartReport:
        """Runs one round, whatever `rounds` says."""
        cluster = context.clusters.get(self._spec)
        seconds, guesses = (1.0, 50) if context.quick else (15.0, 500)
        tokens = context.clusters.token, context.clusters.public_token
        ready_seconds = self._spec.application_ready_seconds
        with (
            run_web_beside(cluster, "gateway", ready_seconds=ready_seconds, admin="none") as gateway,
            run_web_beside(cluster, "admin", ready_seconds=ready_seconds, admin="only") as admin,
            pinned(gateway.pid),
        ):
            target = _Target(cluster, gateway, admin, *tokens)
            figures = []
            attacks: list[Attack | None] = [None, *(QUICK_ATTACKS if context.quick else Attack)]
            for done, attack in enumerate(attacks):
                context.on_progress("attacking", done, len(attacks))
                most = QUICK_CONNECTIONS if context.quick else CONNECTIONS[Attack.SLOW_HEADS]
                figures.append(_measure(target, attack, seconds=seconds, most_connections=most))
            context.on_progress("attacking", len(attacks), len(attacks))
            guessing = _time_guesses(target, guesses)
        return describe_abuse(self.name, self.title, figures, guessing)


@dataclass(frozen=True, slots=True)
class Guessing:
    """Median times of the refusal of a wrong key."""

    unknown_prefix_ms: float
    known_prefix_ms: float


class _Target:
    def __init__(self, cluster: LocalCluster, gateway: Web, admin: Web, token: str, public_token: str) -> None:
        url = urlsplit(gateway.url)
        self.cluster, self.token, self.public_token = cluster, token, public_token
        self.host, self.port, self.netloc = str(url.hostname), int(url.port or 80), url.netloc
        self.admin_port = int(urlsplit(admin.url).port or 80)
        self.web = psutil.Process(gateway.pid)
        self.posts = make_posts(host=url.netloc, token=token, batch_events=1, seed=1)

    def read_cpu_seconds(self) -> float:
        times = [child.cpu_times() for child in self.web.children()]
        return float(sum(each.user + each.system for each in times))

    def read_rss(self) -> int:
        return sum(child.memory_info().rss for child in self.web.children())


def _measure(target: _Target, attack: Attack | None, *, seconds: float, most_connections: int) -> AbuseFigures:
    connections = min(CONNECTIONS[attack], most_connections) if attack else 0
    figures = AbuseFigures(str(attack or "none"), connections)
    if attack is None:
        asyncio.run(_post(target, figures, seconds))
        return figures
    port = target.admin_port if attack is Attack.LOG_INS else target.port
    arguments = ("attack", "--kind", attack.value, "--host", target.host, "--port", str(port))
    limits = ("--connections", str(connections), "--seconds", str(seconds + 1.0))
    process = spawn_step(target.cluster, *arguments, *limits)
    try:
        if process.stdin is None or process.stdout is None:
            raise BenchStepFailed("the attacker process has no pipes")
        process.stdin.write(f"{target.token}\n{target.public_token}\n")
        process.stdin.flush()
        if not process.stdout.readline():  # it has begun
            raise BenchStepFailed("the attacker process did not start its attack")
        asyncio.run(_post(target, figures, seconds))
        try:
            said, _ = process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise BenchStepFailed("the attacker process does not end") from error
        if not said:
            raise BenchStepFailed("the attacker process ended early")
        figures.outcomes = json.loads(said)["outcomes"]
    finally:
        process.kill()
        process.wait()
    return figures


async def _post(target: _Target, figures: AbuseFigures, seconds: float) -> None:
    """Each client posts at its own fixed times; latency counts from the scheduled time (no coordinated omission)."""
    latencies: list[float] = []
    begins_at, interval = time.perf_counter(), CLIENTS / POSTS_A_SECOND

    async def post_regularly(number: int) -> None:
        connection = _connect(target)
        for due_at in itertools.count(begins_at + number / POSTS_A_SECOND, interval):
            if due_at >= begins_at + seconds:
                break
            await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
            await _send(connection, next(target.posts), at=due_at)
            if connection.fault is None:
                latencies.append(time.perf_counter() - due_at)
            else:
                figures.failed.append(connection.fault[:200])
                connection.close()
                connection = _connect(target)
        connection.close()

    watch = asyncio.create_task(_watch_memory(target, figures))
    cpu_seconds = target.read_cpu_seconds()
    await asyncio.gather(*(post_regularly(number) for number in range(CLIENTS)))
    figures.web_cpu_share = round((target.read_cpu_seconds() - cpu_seconds) / (time.perf_counter() - begins_at), 2)
    watch.cancel()
    ordered = sorted(latencies) or [0.0]
    figures.posts = len(latencies)
    figures.p50_ms = round(statistics.median(ordered) * 1000, 1)
    figures.p99_ms = round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 1)
    figures.max_ms = round(ordered[-1] * 1000, 1)


def _connect(target: _Target, status: int = 202) -> Connection:
    """Opened together with its first request: servers close connections without one."""
    return Connection((target.host, target.port), status)


async def _send(connection: Connection, request: bytes, *, at: float) -> None:
    """Returns when the request is answered or has failed."""
    answered = asyncio.Event()

    def set_answered(_connection: Connection, _body: bytes) -> None:
        answered.set()

    connection.on_answer = set_answered
    connection.send(request, at=at)
    try:
        await asyncio.wait_for(answered.wait(), ANSWER_SECONDS)
    except TimeoutError:
        connection.fault = connection.fault or f"no answer within {ANSWER_SECONDS:g} s"


async def _watch_memory(target: _Target, figures: AbuseFigures) -> None:
    while True:
        figures.peak_rss_bytes = max(figures.peak_rss_bytes, target.read_rss())
        await asyncio.sleep(0.1)


def _time_guesses(target: _Target, guesses: int) -> Guessing:
    """Compare the time of refusing a wrong secret under a known prefix with that of an unknown prefix, in turn."""
    rng = random.Random(2)  # noqa: S311 - invents keys that are not to be guessed right
    prefix = target.token.removeprefix("vc_")[:_KEY_HEX]
    seconds: dict[str | None, list[float]] = {None: [], prefix: []}

    async def guess() -> None:
        connection = _connect(target, status=401)
        for number in range(2 * guesses):
            known = prefix if number % 2 else None
            head = f"POST /v1/events HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Length: 0\r\n"
            request = f"{head}Authorization: Bearer {invent_token(rng, prefix=known)}\r\n\r\n".encode()
            started_at = time.perf_counter()
            await _send(connection, request, at=started_at)
            check_answers([connection])
            seconds[known].append(time.perf_counter() - started_at)
        connection.close()

    asyncio.run(guess())
    return Guessing(*(round(statistics.median(each) * 1000, 3) for each in seconds.values()))


def describe_abuse(name: str, title: str, figures: list[AbuseFigures], guessing: Guessing) -> PartReport:
    rows = tuple(
        (
            each.attack,
            f"{each.connections:,}",
            _describe_outcomes(Counter(each.outcomes)),
            f"{each.posts:,}",
            f"{len(each.failed):,}",
            f"{each.p50_ms:.1f}",
            f"{each.p99_ms:.1f}",
            f"{each.max_ms:.0f}",
            f"{each.peak_rss_bytes / MEBIBYTE:.0f}",
            f"{each.web_cpu_share:.2f}",
        )
        for each in figures
    )
    columns = (
        *("attack", "connections", "its requests", "posts", "failed", "p50 ms", "p99 ms", "max ms"),
        *("peak MiB", "cores"),
    )
    notes = (
        f"{CLIENTS} clients post single events, {POSTS_A_SECOND:.0f} a second in all; memory and cores are the "
        "gateway process's. Log-ins attack the admin's own process.",
        f"Refusing a wrong key takes {guessing.unknown_prefix_ms:.2f} ms when its prefix is unknown, "
        f"{guessing.known_prefix_ms:.2f} ms when there is such a key (medians, in turn).",
    )
    return PartReport(
        name=name,
        title=title,
        tables=(ReportTable("Well-behaved clients during attacks", columns, rows, notes),),
        plots=(),
        bounded_by=("the attackers' CPU: on two cores they share one with the clients and all servers",),
        figures={"attacks": [asdict(each) for each in figures], "guessing": asdict(guessing)},
    )


def _describe_outcomes(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in outcomes.most_common()) or "-"
