"""In which order sources are asked, and when the search ends."""

import pytest

from clusterproxy.errors import SourceUnavailable
from clusterproxy.source import FirstAnswer
from clusterproxy.trust import TopologyTrust
from configservice.topology.published_snapshot import build_published_snapshot
from tests.unit.clusterproxy.builders import CLUSTER_ID, build_topology
from tests.unit.clusterproxy.shelf import Shelf


def ask(*shelves: Shelf, held_epoch: int | None = None, thorough_seconds: float = 5.0) -> FirstAnswer:
    """By a process that knows its cluster, and perhaps a topology."""
    trust = TopologyTrust(cluster_id=CLUSTER_ID)
    if held_epoch is not None:
        trust.hold(trust.check(build_published_snapshot(build_topology(epoch=held_epoch)), place="memory"))
    return FirstAnswer(shelves, trust, thorough_seconds=thorough_seconds)


def test_a_new_process_takes_the_newest_of_all_sources():
    cache, database = Shelf(build_topology(epoch=3)), Shelf(build_topology(epoch=4))
    assert ask(cache, database).fetch().topology.epoch == 4
    assert ask(database, cache).fetch().topology.epoch == 4
    assert ask(Shelf(None), database).fetch().topology.epoch == 4


def test_the_true_source_is_spared_while_the_cache_answers():
    cache, database = Shelf(build_topology(epoch=3)), Shelf(build_topology(epoch=3))
    source = ask(cache, database, held_epoch=3, thorough_seconds=3600.0)
    for _ in range(11):
        assert source.fetch() is None
    assert (cache.asked_count, database.asked_count) == (11, 1)


def test_a_cache_that_missed_a_publish_is_not_believed_for_ever():
    source = ask(Shelf(build_topology(epoch=3)), Shelf(build_topology(epoch=4)), held_epoch=3, thorough_seconds=0.0)
    assert source.fetch().topology.epoch == 4


def test_a_dead_cache_is_passed_over():
    source = ask(Shelf(None, down=True), Shelf(build_topology(epoch=4)), held_epoch=3)
    assert source.fetch().topology.epoch == 4


def test_only_when_all_are_down_it_is_down():
    with pytest.raises(SourceUnavailable, match="ConnectionError: down; ConnectionError: down"):
        ask(Shelf(None, down=True), Shelf(None, down=True), held_epoch=3).fetch()


def test_what_is_not_believed_is_no_answer_and_the_next_source_is_asked():
    false, database = Shelf(build_topology(epoch=9, partitions=16)), Shelf(build_topology(epoch=4))
    source = ask(false, database, held_epoch=3, thorough_seconds=3600.0)
    assert source.fetch().topology.epoch == 4
    assert source.fetch().topology.epoch == 4
    assert (false.asked_count, database.asked_count) == (2, 2)


def test_the_true_source_alone_says_to_which_cluster_a_new_process_belongs():
    other = Shelf(build_topology(epoch=9, cluster_id="another"))
    source = FirstAnswer([other, Shelf(build_topology(epoch=4))], TopologyTrust())
    assert source.fetch().topology.cluster_id == CLUSTER_ID
    assert other.asked_count == 0
