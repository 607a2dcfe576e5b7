"""Reads the file that describes the servers of a cluster, for `manage.py init_cluster --instances FILE`.

{"shards": [{"name": "shard1", "instances": [
    {"name": "shard1a", "role": "primary", "host": "10.0.0.1", "port": 5432, "database": "viewcounter",
     "user": "viewcounter", "password_ref": "file:/etc/viewcounter/shards/one", "zone": "a"}]}]}
"""

from collections import Counter
from pathlib import Path

import msgspec

from configservice.errors import BadClusterFile
from configservice.topology.model import Instance, Role


class InstanceDescription(Instance, frozen=True, forbid_unknown_fields=True):
    """Like the topology's Instance, but unknown keys are refused: a key `password` must not be ignored silently."""


class ShardDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    instances: tuple[InstanceDescription, ...]


class ClusterDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shards: tuple[ShardDescription, ...]


def read_cluster_file(path: Path) -> ClusterDescription:
    """Raises BadClusterFile, which never repeats the file's content: someone may have put a password there."""
    try:
        description = msgspec.json.decode(path.read_bytes(), type=ClusterDescription)
    except OSError as error:
        raise BadClusterFile(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise BadClusterFile(f"{path}: {error}") from error
    check_cluster(description)
    return description


def check_cluster(description: ClusterDescription) -> None:
    """Raises BadClusterFile unless there are shards, names are unique and each shard has one primary."""
    if not description.shards:
        raise BadClusterFile("there must be at least one shard")
    shard_names = Counter(shard.name for shard in description.shards)
    instance_names = Counter(i.name for shard in description.shards for i in shard.instances)
    for name, count in (shard_names + instance_names).items():
        if shard_names[name] > 1 or instance_names[name] > 1:
            raise BadClusterFile(f"the name {name} is used {count} times")
    for shard in description.shards:
        primaries = [i.name for i in shard.instances if i.role is Role.PRIMARY]
        if len(primaries) != 1:
            raise BadClusterFile(f"{shard.name} must have exactly one primary, it has {len(primaries)}")
