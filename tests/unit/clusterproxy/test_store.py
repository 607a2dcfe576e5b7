"""The topology of a process: only ever newer, on disk for the next start."""

import stat

import pytest

from clusterproxy.disk_copy import find_disk_copy, write_disk_copy
from clusterproxy.errors import NoTopology
from clusterproxy.trust import KnownCluster
from configservice.topology.model import TopologyVersion, encode_topology
from configservice.topology.published_snapshot import build_published_snapshot
from configservice.topology.signing import make_signing_key_file
from tests.unit.clusterproxy.builders import CLUSTER_ID, build_topology
from tests.unit.clusterproxy.shelf import Shelf, sign
from tests.waiting import wait_until


def publish(**topology):
    return build_published_snapshot(build_topology(**topology))


def refused(store):
    return {place: refusal.reason for place, refusal in store.trust.refusals.items()}


def test_the_first_call_asks_the_source_and_keeps_a_private_copy(open_store, tmp_path):
    seen = []
    store = open_store(Shelf(build_topology(epoch=5)), seen=seen)
    assert store.get_current().epoch == 5
    assert [t.epoch for t in seen] == [5]
    wait_until(lambda: find_disk_copy(tmp_path) is not None)
    assert find_disk_copy(tmp_path) == publish(epoch=5)
    assert stat.S_IMODE((tmp_path / "topology.json").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["topology.json"]


def test_polling_finds_newer_topology(open_store):
    shelf = Shelf(build_topology(epoch=5))
    store = open_store(shelf)
    store.get_current()
    shelf.topology = build_topology(epoch=6)
    wait_until(lambda: store.get_current().epoch == 6)


def test_a_caller_sure_of_newer_topology_waits_until_it_may_ask_again(open_store):
    shelf = Shelf(build_topology(epoch=5))
    store = open_store(shelf, poll_seconds=3600.0, refresh_min_seconds=1.0)
    store.get_current()
    shelf.topology = build_topology(epoch=6)
    assert store.refresh(known=TopologyVersion(0, 5), timeout_seconds=10.0) is False
    assert store.refresh(known=TopologyVersion(0, 5), timeout_seconds=10.0, is_sure=True) is True


def test_refresh_does_not_wait_for_the_next_poll(open_store):
    shelf = Shelf(build_topology(epoch=5))
    store = open_store(shelf, poll_seconds=3600.0)
    store.get_current()
    assert store.refresh(known=TopologyVersion(0, 5), timeout_seconds=10.0) is False
    shelf.topology = build_topology(epoch=6)
    assert store.refresh(known=TopologyVersion(0, 5), timeout_seconds=10.0) is True
    assert store.get_current().epoch == 6


def test_a_caller_behind_the_current_epoch_is_told_without_asking_again(open_store):
    shelf = Shelf(build_topology(epoch=6))
    store = open_store(shelf, poll_seconds=3600.0)
    store.get_current()
    asked_count = shelf.asked_count
    assert store.refresh(known=TopologyVersion(0, 5), timeout_seconds=10.0) is True
    assert shelf.asked_count == asked_count


def test_an_older_snapshot_is_never_taken(open_store, tmp_path):
    shelf = Shelf(build_topology(epoch=5))
    store = open_store(shelf, poll_seconds=3600.0)
    store.get_current()
    shelf.topology = build_topology(epoch=4)
    assert store.refresh(known=TopologyVersion(0, 5), timeout_seconds=10.0) is False
    assert store.get_current().epoch == 5
    assert find_disk_copy(tmp_path) == publish(epoch=5)


def test_a_process_starts_from_the_disk_copy_when_the_sources_are_down(open_store, tmp_path):
    write_disk_copy(tmp_path, publish(epoch=7))
    shelf = Shelf(None, down=True)
    store = open_store(shelf)
    assert store.get_current().epoch == 7
    shelf.topology, shelf.down = build_topology(epoch=8), False
    wait_until(lambda: store.get_current().epoch == 8)


def test_a_restarted_process_takes_nothing_older_than_its_disk_copy(open_store, tmp_path):
    write_disk_copy(tmp_path, publish(epoch=9))
    shelf = Shelf(build_topology(epoch=5))
    store = open_store(shelf)
    assert store.get_current().epoch == 9
    assert refused(store) == {"the shelf": "older_epoch"}
    assert find_disk_copy(tmp_path) == publish(epoch=9)
    shelf.topology = build_topology(epoch=10)
    wait_until(lambda: store.get_current().epoch == 10)
    assert refused(store) == {}


def test_a_process_that_is_behind_does_not_write_over_a_newer_disk_copy(open_store, tmp_path):
    shelf = Shelf(build_topology(epoch=5))
    store = open_store(shelf, poll_seconds=3600.0)
    store.get_current()
    write_disk_copy(tmp_path, publish(epoch=7))  # by another process
    shelf.topology = build_topology(epoch=6)
    assert store.refresh(known=TopologyVersion(0, 5), timeout_seconds=10.0) is True
    assert store.get_current().epoch == 6
    assert find_disk_copy(tmp_path) == publish(epoch=7)


def test_a_disk_copy_of_the_release_before_is_read_and_replaced(open_store, tmp_path):
    (tmp_path / "topology.json").write_bytes(encode_topology(build_topology(epoch=7)))
    shelf = Shelf(None, down=True)
    store = open_store(shelf)
    assert store.get_current() == build_topology(epoch=7)
    shelf.topology, shelf.down = build_topology(epoch=8), False
    wait_until(lambda: find_disk_copy(tmp_path) == publish(epoch=8))


@pytest.mark.parametrize(
    ("false", "reason"),
    [
        (build_topology(epoch=10**6, partitions=16), "other_partition_count"),
        (build_topology(epoch=10**6, cluster_id="of another cluster"), "other_cluster"),
        (build_topology(epoch=10**6, cluster_id=""), "other_cluster"),
        (build_topology(epoch=5, term=2), "same_epoch_other_content"),
        (build_topology(epoch=4), "older_epoch"),
    ],
)
def test_a_false_topology_is_refused_logged_once_counted_and_forgotten(open_store, tmp_path, caplog, false, reason):
    reasons = []
    shelf = Shelf(build_topology(epoch=5))
    store = open_store(shelf, on_refused=reasons.append)
    store.get_current()
    shelf.topology = false
    wait_until(lambda: len(reasons) >= 3)
    assert set(reasons) == {reason}
    assert refused(store) == {"the shelf": reason}
    assert store.get_current() == build_topology(epoch=5)
    assert find_disk_copy(tmp_path) == publish(epoch=5)
    assert [r.levelname for r in caplog.records if "the topology in the shelf is refused" in r.message] == ["ERROR"]
    shelf.topology = build_topology(epoch=6)
    wait_until(lambda: store.get_current().epoch == 6)
    assert refused(store) == {}


def test_what_a_cluster_is_outlasts_the_process(open_store, tmp_path):
    write_disk_copy(tmp_path, publish(epoch=5))
    store = open_store(Shelf(None))
    assert store.get_current().epoch == 5
    assert store.trust.known == KnownCluster(CLUSTER_ID, 8, has_signed=False)


@pytest.mark.parametrize("change", [{"partitions": 16}, {"cluster_id": "of another cluster"}])
def test_a_process_does_not_choose_between_disk_copy_and_control_database(open_store, tmp_path, change):
    write_disk_copy(tmp_path, publish(epoch=5, **change))
    with pytest.raises(NoTopology, match="the shelf is refused: it"):
        open_store(Shelf(build_topology(epoch=9))).get_current()


def test_a_disk_copy_of_another_cluster_than_the_settings_name_is_replaced(open_store, tmp_path):
    write_disk_copy(tmp_path, publish(epoch=9, cluster_id="of another cluster"))
    store = open_store(Shelf(build_topology(epoch=5)), cluster_id=CLUSTER_ID)
    assert store.get_current() == build_topology(epoch=5)
    wait_until(lambda: find_disk_copy(tmp_path) == publish(epoch=5))
    assert refused(store) == {}


@pytest.mark.parametrize("content", [b"", b"{", b'{"epoch": 3}', b"\x00\xff"])
def test_a_broken_disk_copy_is_ignored(open_store, tmp_path, content):
    (tmp_path / "topology.json").write_bytes(content)
    with pytest.raises(NoTopology):
        open_store(Shelf(None, down=True)).get_current()


def test_without_any_topology_the_error_is_retryable_and_ends_by_itself(open_store):
    shelf = Shelf(None, down=True)
    store = open_store(shelf)
    with pytest.raises(NoTopology):
        store.get_current()
    shelf.topology, shelf.down = build_topology(epoch=1), False
    assert store.refresh(known=TopologyVersion(0, 0), timeout_seconds=10.0) is True
    assert store.get_current().epoch == 1


def test_a_snapshot_that_cannot_be_taken_over_does_not_end_the_polling(open_store):
    shelf = Shelf(build_topology(epoch=5))

    def refuse_six(topology):
        if topology.epoch == 6:
            raise ValueError(topology.epoch)

    store = open_store(shelf, on_change=refuse_six)
    assert store.get_current().epoch == 5
    shelf.topology = build_topology(epoch=6)
    assert store.refresh(known=TopologyVersion(0, 5), timeout_seconds=10.0) is False
    shelf.topology = build_topology(epoch=7)
    wait_until(lambda: store.get_current().epoch == 7)


@pytest.fixture
def key(tmp_path_factory):
    return make_signing_key_file(tmp_path_factory.mktemp("keys") / "key")


def test_a_new_host_with_public_keys_alone_takes_a_signed_topology(open_store, tmp_path, key):
    cache = Shelf(build_topology(epoch=5), key, is_open=True)
    store = open_store(cache, keys=[key])
    assert store.get_current() == build_topology(epoch=5)
    assert store.trust.known == KnownCluster(CLUSTER_ID, 8, has_signed=True)
    assert find_disk_copy(tmp_path) == sign(build_topology(epoch=5), key)


def test_a_signed_disk_copy_outranks_an_older_signed_snapshot_that_is_repeated(open_store, tmp_path, key):
    write_disk_copy(tmp_path, sign(build_topology(epoch=9), key))
    store = open_store(Shelf(build_topology(epoch=5), key, is_open=True), keys=[key])
    assert store.get_current().epoch == 9
    assert refused(store) == {"the shelf": "older_epoch"}


def test_a_forged_disk_copy_is_not_believed_whatever_else_is_there(open_store, tmp_path, key):
    foreign = make_signing_key_file(tmp_path / "foreign")
    write_disk_copy(tmp_path, sign(build_topology(epoch=10**6, partitions=16), foreign))
    shelf = Shelf(None, key, down=True)
    store = open_store(shelf, keys=[key])
    with pytest.raises(NoTopology, match="the disk copy is refused: its signatures"):
        store.get_current()
    shelf.topology, shelf.down = build_topology(epoch=5), False
    wait_until(lambda: find_disk_copy(tmp_path) == sign(build_topology(epoch=5), key))
    wait_until(lambda: (store.get_current().epoch, refused(store)) == (5, {}))


def test_an_unsigned_disk_copy_does_not_bind_a_process_that_finds_a_signed_one(open_store, tmp_path, key):
    write_disk_copy(tmp_path, publish(epoch=10**6, partitions=16))
    store = open_store(Shelf(build_topology(epoch=5), key), keys=[key])
    assert store.get_current() == build_topology(epoch=5)
    wait_until(lambda: find_disk_copy(tmp_path) == sign(build_topology(epoch=5), key))


def test_an_unsigned_disk_copy_serves_a_process_that_finds_nothing_else(open_store, tmp_path, key):
    write_disk_copy(tmp_path, publish(epoch=5))
    shelf = Shelf(None, key, down=True)
    store = open_store(shelf, keys=[key])
    assert store.get_current().epoch == 5
    shelf.topology, shelf.down = build_topology(epoch=6), False
    wait_until(lambda: store.get_current().epoch == 6)


def test_the_disk_copy_follows_when_the_same_topology_is_signed_with_a_new_key(open_store, tmp_path, key):
    new = make_signing_key_file(tmp_path / "new")
    changes = []
    shelf = Shelf(build_topology(epoch=5), key)
    store = open_store(shelf, keys=[key, new], seen=changes)
    store.get_current()
    shelf.keys = (key, new)
    wait_until(lambda: find_disk_copy(tmp_path) == sign(build_topology(epoch=5), key, new))
    assert [topology.epoch for topology in changes] == [5]
