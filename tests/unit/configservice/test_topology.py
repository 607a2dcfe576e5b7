"""The snapshot survives the wire, and answers where things are."""

import msgspec
import pytest

from configservice.topology.model import decode_topology, encode_topology
from tests.unit.clusterproxy.builders import build_shard, build_topology


def test_a_snapshot_survives_encoding():
    topology = build_topology(epoch=12)
    assert decode_topology(encode_topology(topology)) == topology


def test_every_partition_has_exactly_one_shard():
    topology = build_topology(build_shard(1), build_shard(2), build_shard(3), partitions=7)
    assert [topology.get_shard_of(p).name for p in range(7)] == [f"shard{1 + p % 3}" for p in range(7)]
    assert topology.get_partitions_of(1) == [0, 3, 6]
    assert topology.get_shard(2).primary.name == "shard2a"
    assert [r.name for r in topology.get_shard(2).replicas] == ["shard2b", "shard2c"]


@pytest.mark.parametrize("partition", [-1, 8])
def test_a_partition_outside_is_refused(partition):
    with pytest.raises(IndexError):
        build_topology().get_shard_of(partition)


def test_half_a_snapshot_is_refused():
    with pytest.raises(msgspec.DecodeError):
        decode_topology(encode_topology(build_topology())[:-1])
    with pytest.raises(msgspec.ValidationError):
        decode_topology(b'{"epoch": 1}')
