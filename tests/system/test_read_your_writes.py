"""What was acknowledged is in the next read through replicas, under load and while primaries die.

The long form kills a primary after each tenth of the pairs, and prints its figures:

    bin/test --long tests/system/test_read_your_writes.py -s
"""

import pytest

from tests.system.failing_over import get_primary, make_whole, read_roles
from tests.system.read_your_writes import ReadYourWrites
from tests.system.steady_load import post_steadily
from tests.waiting import wait_until

REJOIN_SECONDS = 240.0
THREADS = 16
SHARDS = ("shard1", "shard2")
SECONDS_A_PAIR = 0.2

pytestmark = pytest.mark.system


@pytest.fixture
def cluster(shared_cluster):
    yield shared_cluster
    make_whole(shared_cluster)


def is_whole(shard):
    return sorted(read_roles(shard).values()) == ["primary", "replica"]


@pytest.mark.parametrize(
    ("pair_count", "kills"),
    [(200, 1), pytest.param(10_000, 9, marks=[pytest.mark.long(minutes=10), pytest.mark.timeout(3600)])],
)
def test_no_read_with_a_position_misses_what_was_acknowledged_while_primaries_die(cluster, pair_count, kills):
    key = cluster.run_command("create_api_key", "pairs", "--scopes", "events:write,stats:read", "--quiet").strip()
    replicas = {name for shard in SHARDS for name, role in read_roles(shard).items() if role == "replica"}
    with (
        post_steadily(cluster, key, seed=7),
        ReadYourWrites(cluster.web_url, key, pairs=pair_count, threads=THREADS, seed=11) as pairs,
    ):
        for number in range(1, kills + 1):
            share = number * pair_count // (kills + 1)
            wait_until(
                lambda share=share: pairs.done >= share or pairs.errors,
                what=f"{share} pairs",
                within_seconds=120 + pair_count * SECONDS_A_PAIR,
            )
            pairs.check()
            shard = f"shard{1 + number % 2}"
            killed = get_primary(shard)
            cluster.server(killed).kill()
            wait_until(
                lambda shard=shard, killed=killed: get_primary(shard) not in ("", killed), what=f"a new {shard} primary"
            )
            if number < kills:
                # The next but one kill needs an instance that can take over.
                cluster.server(killed).start()
                wait_until(lambda shard=shard: is_whole(shard), what=f"{shard} whole", within_seconds=REJOIN_SECONDS)
        pairs.wait(within_seconds=120 + pair_count * SECONDS_A_PAIR)
    story = pairs.describe()
    print(story)  # noqa: T201 (the figures of the long form)
    assert pairs.done == pair_count
    assert pairs.stale == [], story
    assert pairs.doubled == [], story
    assert replicas <= pairs.instances.keys(), story
