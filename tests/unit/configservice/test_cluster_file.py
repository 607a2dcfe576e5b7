"""Which descriptions of a cluster are refused, and how."""

import json

import pytest

from configservice.errors import BadClusterFile
from configservice.topology.cluster_file import read_cluster_file


def describe(name, role, **more):
    return {
        "name": name,
        "role": role,
        "host": "127.0.0.1",
        "port": 5432,
        "database": "counts",
        "user": "viewcounter",
        "password_ref": "env:VIEWCOUNTER_SHARD_PASSWORD",
        **more,
    }


def write(tmp_path, *shards):
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps({"shards": shards}))
    return path


def test_a_good_file_is_read(tmp_path):
    path = write(tmp_path, {"name": "s1", "instances": [describe("a", "primary", zone="z1"), describe("b", "replica")]})
    (shard,) = read_cluster_file(path).shards
    assert [(i.name, i.role.value, i.zone, i.promotable) for i in shard.instances] == [
        ("a", "primary", "z1", True),
        ("b", "replica", "local", True),
    ]


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([], "at least one shard"),
        ([{"name": "s1", "instances": []}], "s1 must have exactly one primary, it has 0"),
        ([{"name": "s1", "instances": [describe("a", "primary"), describe("b", "primary")]}], "it has 2"),
        (
            [{"name": "s1", "instances": [describe("a", "primary"), describe("a", "replica")]}],
            "the name a is used 2 times",
        ),
        ([{"name": "s1", "instances": [describe("a", "master")]}], "Invalid enum value 'master'"),
        ([{"name": "s1", "instances": [describe("a", "primary", password="hunter2")]}], "unknown field"),
        ([{"name": "s1"}], "missing required field `instances`"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(tmp_path, shards, message):
    with pytest.raises(BadClusterFile, match=message) as caught:
        read_cluster_file(write(tmp_path, *shards))
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_json(tmp_path):
    with pytest.raises(BadClusterFile, match="No such file"):
        read_cluster_file(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BadClusterFile, match="truncated"):
        read_cluster_file(tmp_path / "broken.json")
