from dataclasses import replace

import pytest

from devtools.bench.peer_report import NAMES, describe_peers
from devtools.bench.peer_runs import PeerRun

PLAIN = PeerRun(
    sent_count=1000,
    repeated_count=10,
    counted=1000,
    acknowledged_per_second=500.0,
    committed_per_second=500.0,
    p50_ms=100.0,
    p99_ms=200.0,
    cpu_seconds_per_million={"web": 1500.0, "database": 100.04},
    load_cpu_share=0.05,
)
SERVICE = replace(PLAIN, counted=990, acknowledged_per_second=10_000.0, committed_per_second=8000.0)
ROUNDS = [
    {"drf": PLAIN, "service": SERVICE},
    {"drf": replace(PLAIN, committed_per_second=400.0), "service": SERVICE},
    {"drf": PLAIN, "service": replace(SERVICE, committed_per_second=6000.0)},
]


@pytest.fixture
def report():
    return describe_peers(ROUNDS, name="peers", title="all of them")


def test_exactness_adds_up_all_rounds(report):
    assert report.tables[1].rows == (
        (NAMES["drf"], "3,000", "30", "3,000", "30"),
        (NAMES["service"], "3,000", "30", "2,970", "0"),
    )
