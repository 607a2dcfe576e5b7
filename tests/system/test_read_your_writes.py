"""What was acknowledged is in the next read through replicas, under load and while primaries die.

A short form runs with all tests. The long one kills a primary after each tenth of the pairs, and prints its figures:

    READ_YOUR_WRITES_PAIRS=10000 bin/test tests/system/test_read_your_writes.py -s
"""

import os

import pytest

from tests.system.failing_over import get_primary, make_whole, read_roles
from tests.system.read_your_writes import ReadYourWrites
from tests.waiting import wait_until
from viewcounter.operations.drill.load import LoadClient

SHORT_PAIRS = 200
PAIRS = int(os.environ.get("READ_YOUR_WRITES_PAIRS", SHORT_PAIRS))
KILLS = 1 if PAIRS <= SHORT_PAIRS else 9
REJOIN_SECONDS = 240.0
THREADS = 16
SHARDS = ("shard1", "shard2")
SECONDS_A_PAIR = 1.0

pytestmark = [pytest.mark.system, pytest.mark.timeout(300 + PAIRS * SECONDS_A_PAIR)]


@pytest.fixture
def cluster(shared_cluster):
    yield shared_cluster
    make_whole(shared_cluster)


def is_whole(shard):
    return sorted(read_roles(shard).values()) == ["primary", "replica"]


def test_no_read_with_a_position_misses_what_was_acknowledged_while_primaries_die(cluster):
    key = cluster.run_command("create_api_key", "pairs", "--scopes", "events:write,stats:read", "--quiet").strip()
    replicas = {name for shard in SHARDS for name, role in read_roles(shard).items() if role == "replica"}
    with (
        LoadClient(cluster.web_url, key, seed=7, threads=1),
        ReadYourWrites(cluster.web_url, key, pairs=PAIRS, threads=THREADS, seed=11) as pairs,
    ):
        for number in range(1, KILLS + 1):
            share = number * PAIRS // (KILLS + 1)
            wait_until(
                lambda share=share: pairs.done >= share or pairs.errors,
                what=f"{share} pairs",
                within_seconds=120 + PAIRS * SECONDS_A_PAIR,
            )
            pairs.check()
            shard = f"shard{1 + number % 2}"
            killed = get_primary(shard)
            cluster.server(killed).kill()
            wait_until(
                lambda shard=shard, killed=killed: get_primary(shard) not in ("", killed), what=f"a new {shard} primary"
            )
            if number < KILLS:
                # The next but one kill needs somebody to take over.
                cluster.server(killed).start()
                wait_until(lambda shard=shard: is_whole(shard), what=f"{shard} whole", within_seconds=REJOIN_SECONDS)
        pairs.wait(within_seconds=120 + PAIRS * SECONDS_A_PAIR)
    story = pairs.describe()
    print(story)  # noqa: T201 (the figures of the long form)
    assert pairs.done == PAIRS
    assert pairs.stale == [], story
    assert pairs.doubled == [], story
    assert replicas <= pairs.instances.keys(), story
