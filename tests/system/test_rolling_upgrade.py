"""A running cluster of an older release becomes one of this release under load, in both orders of its processes.

It needs a folder with the older release, whose dependencies are those of this one:

    VIEWCOUNTER_TEST_OLDER_RELEASE=../older bin/test --long tests/system/test_rolling_upgrade.py -s
"""

import os
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from devtools.drill.load import LoadClient
from devtools.drill.proof import find_miscounts
from devtools.localcluster.postgres import find_primary
from devtools.localcluster.spec import WEB, WORKER, ClusterSpec
from devtools.localcluster.temporary import run_temporary_cluster
from tests.pace import limit
from tests.system.steady_load import post_steadily
from tests.waiting import wait_while

pytestmark = [pytest.mark.system, pytest.mark.long(minutes=3), pytest.mark.timeout(900)]

OLDER = os.environ.get("VIEWCOUNTER_TEST_OLDER_RELEASE", "")
PHASE_SECONDS = 8.0
SPEC = ClusterSpec(shards=2, replicas_per_shard=1, partitions=8, web_workers=2, worker_processes=2)


@pytest.fixture(params=[(WORKER, WEB), (WEB, WORKER)], ids=["workers first", "gateways first"])
def order(request):
    if not OLDER:
        reason = "VIEWCOUNTER_TEST_OLDER_RELEASE names no folder: A ROLLING UPGRADE IS NOT TESTED"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    return request.param


@pytest.fixture
def cluster(order):
    with run_temporary_cluster(spec=replace(SPEC)) as cluster:
        cluster.start_servers()
        cluster.use_release(Path(OLDER).resolve())
        cluster.prepare()
        cluster.start_applications()
        yield cluster


def read_shards(cluster, sql):
    rows = []
    for instances in cluster.layout.shards.values():
        primary = find_primary(instances)
        with primary.session() as connection:
            cursor = connection.execute(sql.encode())
            names = [column.name for column in cursor.description]
            rows += [dict(zip(names, row, strict=True)) for row in cursor]
    return rows


def find_uncounted(cluster, load: LoadClient):
    [*rows] = read_shards(cluster, "SELECT count(*) AS n FROM raw_event")
    counted = sum(row["n"] for row in rows)
    return None if counted == len(load.acknowledged) else f"{counted} of {len(load.acknowledged)} counted"


def test_every_event_is_counted_once_while_releases_run_side_by_side(cluster, order):
    older_root, ours = cluster.project_root, Path(__file__).resolve().parents[2]
    assert older_root != ours
    key = cluster.run_command("create_api_key", "load", "--scopes", "events:write,stats:read", "--quiet").strip()
    with post_steadily(cluster, key, seed=5) as load:
        time.sleep(PHASE_SECONDS)
        cluster.use_release(ours)
        for command in ("migrate", "migrate_shards"):
            cluster.run_command(command, signs=True)
        time.sleep(PHASE_SECONDS)  # the older release goes on with the tables of this one
        for name in order:
            cluster.application(name).restart()
            cluster.application(name).wait_ready()
            time.sleep(PHASE_SECONDS)
        for application in cluster.layout.applications.values():
            if application.name not in order:
                application.restart()
                application.wait_ready()
        time.sleep(PHASE_SECONDS)
    wait_while(
        lambda: find_uncounted(cluster, load),
        what="everything acknowledged to be counted",
        within_seconds=limit(120),
    )
    print(f"{' then '.join(order)}: {len(load.acknowledged)} events, {dict(load.statuses)}")  # noqa: T201
    assert load.refused == []
    assert find_miscounts(load, lambda sql: read_shards(cluster, sql)) == []
    assert read_shards(cluster, "SELECT * FROM log_loss") == []
