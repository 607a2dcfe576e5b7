"""The log is away: with a spool no post is refused and none is lost; without one posts are refused.

The long form keeps the log away for a minute, and prints its figures: bin/test --long tests/system/test_spool.py -s
"""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import urllib3

from devtools.localcluster import ClusterSpec
from tests.clusters import run_cluster
from tests.pace import limit
from tests.system.conftest import clear_events
from tests.system.exactness import assert_exactly_acknowledged, read_shards
from tests.system.steady_load import post_steadily
from tests.unit.ingest.builders import make_event
from tests.waiting import wait_until

pytestmark = pytest.mark.system

SPEC = ClusterSpec(shards=1, replicas_per_shard=0, partitions=4, web_workers=2)
HEAL_SECONDS = 90.0


def create_key(cluster):
    return cluster.run_command("create_api_key", "load", "--scopes", "events:write", "--quiet").strip()


@pytest.mark.parametrize("outage_seconds", [4.0, pytest.param(60.0, marks=pytest.mark.long(minutes=2))])
def test_with_a_spool_an_outage_of_the_log_costs_no_post_and_no_event(shared_cluster, outage_seconds):
    clear_events()
    spool = Path(shared_cluster.environment["VIEWCOUNTER_SPOOL_DIR"])
    web, log = shared_cluster.application("web"), shared_cluster.server("log")
    with post_steadily(shared_cluster, create_key(shared_cluster), seed=1) as load:
        wait_until(lambda: len(load.acknowledged) >= 1000, what="load")
        log.kill()
        killed_at = time.monotonic()
        before = len(load.acknowledged)
        wait_until(lambda: len(load.acknowledged) >= before + 1000, what="posts accepted without the log")
        assert list(spool.rglob("*.spool")) != []
        victim = web.list_child_pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(victim), what="the worker's end")
        time.sleep(max(0.0, killed_at + outage_seconds - time.monotonic()))
        log.start()
        log.wait_ready()
        back, emptied_from = len(load.acknowledged), time.monotonic()
        wait_until(lambda: len(load.acknowledged) >= back + 1000, what="load after the outage")
    wait_until(lambda: list(spool.rglob("*.spool")) == [], what="an empty spool")
    emptied_seconds = time.monotonic() - emptied_from
    wait_until(lambda: count_raw() == len(load.acknowledged), within_seconds=HEAL_SECONDS, what="everything counted")
    spooled = f"{back - before} events accepted without the log, spool empty after {emptied_seconds:.1f} s"
    print(f"{spooled}; {len(load.acknowledged)} acknowledged; {dict(load.statuses)}")  # noqa: T201
    assert_exactly_acknowledged(load, story="log away, one gateway worker killed")
    refusals = load.statuses - Counter({"202": load.statuses["202"]})
    assert not any(status.isdigit() for status in refusals), refusals  # resets by the killed worker, no 503


def count_raw():
    return sum(row["count"] for row in read_shards("SELECT count(*) AS count FROM raw_event"))


@pytest.mark.long(minutes=0.5)
def test_without_a_spool_refusals_end_by_themselves():
    with run_cluster(spec=SPEC) as cluster:
        key, log = create_key(cluster), cluster.server("log")
        pool = urllib3.PoolManager(retries=False, timeout=limit(10))

        def post():
            headers = {"Authorization": f"Bearer {key}"}
            return pool.request("POST", f"{cluster.web_url}/v1/events", json=make_event(), headers=headers)

        assert post().status == 202
        log.pause()  # it keeps its connections and answers nothing: the worst case for a time-out
        answers = [post() for _ in range(20)]
        log.resume()
        assert [(a.status, a.json()["code"]) for a in answers] == [(503, "log_unavailable")] * 20
        assert all(int(a.headers["retry-after"]) >= 2 for a in answers)
        wait_until(lambda: post().status == 202, what="the breaker to close")
