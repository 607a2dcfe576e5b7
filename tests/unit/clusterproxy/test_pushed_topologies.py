"""Publications that are pushed to a process: heard at once, and polled for while nothing is pushed."""

import queue

import pytest

from clusterproxy.disk_copy import find_disk_copy
from clusterproxy.errors import NoTopology
from configservice.topology.model import TopologyVersion
from configservice.topology.published_snapshot import build_published_snapshot
from tests.unit.clusterproxy.builders import CLUSTER_ID, build_topology
from tests.unit.clusterproxy.shelf import Shelf
from tests.waiting import wait_until


class Feed:
    """Says what a test puts into `news`: an epoch, or an error to raise."""

    def __init__(self):
        self.news = queue.Queue()
        self.waits = 0
        self.closed = False

    def wait(self, timeout_seconds):
        self.waits += 1
        try:
            said = self.news.get(timeout=min(timeout_seconds, 0.05))
        except queue.Empty:
            return None
        if isinstance(said, Exception):
            raise said
        return said

    def close(self):
        self.closed = True


def test_a_publication_that_is_heard_does_not_wait_for_the_next_poll(open_store):
    shelf, feed = Shelf(build_topology(epoch=5)), Feed()
    store = open_store(shelf, poll_seconds=3600.0, feed=feed)
    store.get_current()
    shelf.topology = build_topology(epoch=6)
    feed.news.put(6)
    wait_until(lambda: store.get_current().epoch == 6)


def test_a_publication_that_is_known_already_asks_nobody(open_store):
    shelf, feed = Shelf(build_topology(epoch=5)), Feed()
    store = open_store(shelf, poll_seconds=3600.0, feed=feed)
    store.get_current()
    asked_count, waits = shelf.asked_count, feed.waits
    feed.news.put(5)
    wait_until(lambda: feed.waits >= waits + 3)
    assert shelf.asked_count == asked_count


def test_publication_of_a_higher_generation_is_taken_though_its_epoch_is_lower(open_store, tmp_path):
    shelf, feed = Shelf(build_topology(epoch=5)), Feed()
    store = open_store(shelf, poll_seconds=3600.0, feed=feed)
    store.get_current()
    shelf.topology = build_topology(epoch=2, generation=1)
    feed.news.put(2)
    wait_until(lambda: store.get_current().version == (1, 2))
    wait_until(lambda: find_disk_copy(tmp_path) == build_published_snapshot(store.get_current()))


def test_a_feed_that_fails_is_listened_to_again_and_polling_goes_on_meanwhile(open_store):
    shelf, feed = Shelf(build_topology(epoch=5)), Feed()
    store = open_store(shelf, poll_seconds=0.01, feed=feed)
    store.get_current()
    feed.news.put(ConnectionError("down"))
    wait_until(feed.news.empty)
    shelf.topology = build_topology(epoch=6)
    wait_until(lambda: store.get_current().epoch == 6)
    store.close()
    assert feed.closed


def test_sources_are_polled_seldom_while_publications_are_pushed_and_often_else(open_store):
    shelf, feed = Shelf(build_topology(epoch=5)), Feed()
    store = open_store(shelf, poll_seconds=0.01, fed_poll_seconds=3600.0, feed=feed)
    store.get_current()
    wait_until(lambda: feed.waits >= 2)
    store.refresh(known=build_topology(epoch=5).version, timeout_seconds=10.0)  # from now on no poll is under way
    asked_count, waits = shelf.asked_count, feed.waits
    wait_until(lambda: feed.waits >= waits + 3)  # 0.1 s or more
    assert shelf.asked_count == asked_count
    for _ in range(100):
        feed.news.put(ConnectionError("down"))
    wait_until(lambda: shelf.asked_count >= asked_count + 5)


def test_a_process_without_topology_polls_often_though_publications_are_pushed(open_store):
    shelf, feed = Shelf(build_topology(epoch=5, cluster_id="of another cluster")), Feed()
    store = open_store(shelf, poll_seconds=0.01, fed_poll_seconds=3600.0, feed=feed, cluster_id=CLUSTER_ID)
    with pytest.raises(NoTopology):
        store.get_current()
    wait_until(lambda: feed.waits >= 2)
    store.refresh(known=TopologyVersion(0, 0), timeout_seconds=10.0)  # from now on no poll is under way
    shelf.topology = build_topology(epoch=5)
    wait_until(lambda: find_epoch(store) == 5)


def find_epoch(store):
    try:
        return store.get_current().epoch
    except NoTopology:
        return None


def test_what_was_published_while_the_feed_was_down_is_found_when_it_is_back(open_store):
    shelf, feed = Shelf(build_topology(epoch=5)), Feed()
    store = open_store(shelf, poll_seconds=3600.0, feed=feed)
    store.get_current()
    feed.news.put(ConnectionError("down"))
    wait_until(feed.news.empty)
    shelf.topology = build_topology(epoch=6)
    wait_until(lambda: store.get_current().epoch == 6)
