"""An embedded column store for comparison, chdb (ClickHouse as a library), if it is installed.

It stores the same JSON in the same batches as rows of a MergeTree, and counts at query time. It runs in a process of
its own, since its threads would remain in ours. It never calls fsync.
"""

import importlib
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from devtools.bench.event_stream import EventStream, encode_events

PACKAGE = "chdb"
_TABLE = """
    CREATE TABLE event (
        event_id UUID, video_id LowCardinality(String), event_type LowCardinality(String),
        occurred_at DateTime64(6, 'UTC'), value Float64
    ) ENGINE = MergeTree ORDER BY (video_id, event_type, occurred_at)
"""
_INSERT = "INSERT INTO event SETTINGS date_time_input_format = 'best_effort' FORMAT JSONEachRow\n"


@dataclass(frozen=True, slots=True)
class OlapRun:
    """`seconds` and `cpu_seconds`: of storing."""

    seconds: float
    cpu_seconds: float
    latencies: list[float]
    counted: int


def is_installed() -> bool:
    return find_spec(PACKAGE) is not None


def run_olap(folder: Path, *, stream: EventStream, seconds: float, batch_size: int) -> OlapRun:
    """Stores its data in `folder`, which must be empty. Runs on the cores of this process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run, folder, stream, seconds, batch_size).result()


def _run(folder: Path, stream: EventStream, seconds: float, batch_size: int) -> OlapRun:
    session: Any = importlib.import_module(f"{PACKAGE}.session").Session(str(folder))
    try:
        session.query("CREATE DATABASE IF NOT EXISTS peers ENGINE = Atomic")
        session.query("USE peers")
        session.query(_TABLE)
        latencies: list[float] = []
        cpu_seconds = 0.0
        while sum(latencies) < seconds:
            rows = "\n".join(encode_events(stream.take(batch_size, now=datetime.now(UTC))))
            started_at, cpu_before = time.perf_counter(), time.process_time()
            session.query(_INSERT + rows)
            latencies.append(time.perf_counter() - started_at)
            cpu_seconds += time.process_time() - cpu_before
        return OlapRun(
            seconds=sum(latencies),
            cpu_seconds=cpu_seconds,
            latencies=latencies,
            counted=int(str(session.query("SELECT count() FROM event", "CSV")).strip()),
        )
    finally:
        session.close()
