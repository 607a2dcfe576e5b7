"""The record of an absent replica, and which config service may write it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from configservice.errors import LeaseLost
from configservice.failover.absence import record_absence, record_return, reinstate, release_log_hold
from configservice.failover.reconciler import read_directives
from configservice.models import Instance, Leadership, TopologyEpoch
from configservice.settings import FailoverMode
from tests.integration.configservice.conftest import read_topology

GENERATION = 7
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def cluster(init_cluster):
    init_cluster()
    now = timezone.now()
    Leadership.objects.create(id=1, generation=GENERATION, holder="test", taken_at=now, renewed_at=now)


def get(name):
    return Instance.objects.get(name=name)


def read_promotable():
    return [i.name for shard in read_topology().shards for i in shard.instances if i.promotable]


def test_the_first_instant_of_an_absence_is_kept_over_changes_of_the_leader(cluster):
    record_absence("shard1b", now=FIRST, leader_generation=GENERATION)
    Leadership.objects.update(generation=8)
    record_absence("shard1b", now=FIRST + timedelta(hours=5), leader_generation=8)
    assert get("shard1b").away_since == FIRST
    (order,) = [o for o in read_directives(default_mode=FailoverMode.MANUAL).values() if o.absent_seconds]
    assert order.absent_seconds.keys() == {"shard1b"}
    record_return("shard1b", leader_generation=8)
    assert get("shard1b").away_since is None


def test_an_exclusion_is_an_epoch_with_its_reason_and_so_is_the_return(cluster):
    record_absence("shard1b", now=FIRST, leader_generation=GENERATION)
    release_log_hold(
        "shard1b", why="it has been absent for 24.0 h", actor="config service", leader_generation=GENERATION
    )
    release_log_hold("shard1b", why="again", actor="config service", leader_generation=GENERATION)
    newest = TopologyEpoch.objects.first()
    assert (newest.epoch, newest.reason) == (2, "shard1b is excluded from promotion: it has been absent for 24.0 h")
    assert read_promotable() == ["shard1a", "shard2a", "shard2b"]
    assert [o.excluded for o in read_directives(default_mode=FailoverMode.MANUAL).values()] == [{"shard1b"}, set()]
    reinstate("shard1b", actor="config service", leader_generation=GENERATION)
    assert read_promotable() == ["shard1a", "shard1b", "shard2a", "shard2b"]
    row = get("shard1b")
    assert (read_topology().epoch, row.excluded_at, row.away_since) == (3, None, None)


def test_a_primary_is_never_excluded_and_a_former_leader_excludes_no_replica(cluster):
    release_log_hold("shard1a", why="no", actor="config service", leader_generation=GENERATION)
    with pytest.raises(LeaseLost):
        release_log_hold("shard1b", why="no", actor="config service", leader_generation=GENERATION - 1)
    with pytest.raises(LeaseLost):
        record_absence("shard1b", now=FIRST, leader_generation=GENERATION - 1)
    assert (read_promotable(), read_topology().epoch) == (["shard1a", "shard1b", "shard2a", "shard2b"], 1)
    assert get("shard1b").away_since is None
