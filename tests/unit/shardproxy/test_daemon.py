"""The daemon has a watch for each instance that it is to watch, and follows the topology."""

import msgspec
import pytest

from configservice.topology.model import Assignment, Instance, Role, Shard, Topology
from shardproxy.daemon import Selection, ShardProxyDaemon, plan_watches


def instance(name, *, role=Role.REPLICA, port=5432):
    return Instance(name, role, "127.0.0.1", port, "db", "user", "env:X")


def topology(*shards):
    return Topology(
        epoch=1,
        shards=tuple(Shard(n, f"s{n}", 1, tuple(instances)) for n, instances in enumerate(shards, start=1)),
        assignments=(Assignment(1, 1),),
        event_types=(),
    )


TWO = topology([instance("s1a"), instance("s1b")], [instance("s2a")])


class FakeWatch:
    def __init__(self, target):
        self.instance = target.instance
        self.shard = target.shard
        self.started = self.stopped = 0

    def start(self):
        self.started += 1

    def stop(self):
        self.stopped += 1

    def join(self, *, timeout_seconds):
        assert self.stopped and timeout_seconds == 0


@pytest.fixture
def built():
    return []


def make_daemon(built, selection=None):
    def build(target):
        built.append(FakeWatch(target))
        return built[-1]

    return ShardProxyDaemon(selection=selection or Selection(), build_watch=build)


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(), ["s1a", "s1b", "s2a"]),
        (Selection(shard="s1"), ["s1a", "s1b"]),
        (Selection(instance="s2a"), ["s2a"]),
        (Selection(shard="s9"), []),
        (Selection(instance="s9"), []),
    ],
)
def test_what_is_chosen_is_watched_and_nothing_else(selection, names):
    assert list(plan_watches(TWO, selection)) == names


def test_each_instance_is_watched_once_however_often_the_topology_is_followed(built):
    daemon = make_daemon(built)
    for _ in range(3):
        daemon.follow(TWO)
    assert [(w.shard, w.instance.name, w.started, w.stopped) for w in built] == [
        ("s1", "s1a", 1, 0), ("s1", "s1b", 1, 0), ("s2", "s2a", 1, 0),
    ]  # fmt: skip


def test_instances_that_come_go_and_move_are_followed(built):
    daemon = make_daemon(built)
    daemon.follow(TWO)
    promoted = msgspec.structs.replace(instance("s1b"), role=Role.PRIMARY, zone="elsewhere")
    daemon.follow(topology([promoted], [instance("s2a", port=9), instance("s2b")]))
    assert {(w.instance.name, w.instance.port): w.stopped for w in built} == {
        ("s1a", 5432): 1, ("s1b", 5432): 0, ("s2a", 5432): 1, ("s2a", 9): 0, ("s2b", 5432): 0,
    }  # fmt: skip
    daemon.close(deadline_at=0.0)
    assert all(watch.stopped == 1 for watch in built)
