"""Statements that show which server has answered, and topologies with one instance changed."""

import msgspec

from configservice.topology.model import Role
from shardproxy.query import Query, QueryClass

WHERE = Query("where", "SELECT inet_server_port() AS port, pg_is_in_recovery() AS replica", QueryClass.POINT)
NOBODY = Query("nobody", "SELECT * FROM nowhere", QueryClass.POINT)
COUNT = Query("count", "SELECT %(partitions)s::int[] AS partitions, inet_server_port() AS port", QueryClass.REPORT)
INSERT = "INSERT INTO probe VALUES (%s)"


def read_instance(proxy, partition=0, **more):
    """The name of the instance that answered."""
    return proxy.read(partition, WHERE, {}, **more).instance


def change_instance(topology, name, *, epoch, **changes):
    """The topology with one instance changed."""
    shards = tuple(
        msgspec.structs.replace(
            shard,
            instances=tuple(msgspec.structs.replace(i, **changes) if i.name == name else i for i in shard.instances),
        )
        for shard in topology.shards
    )
    return msgspec.structs.replace(topology, epoch=epoch, shards=shards)


def swap_roles(topology, *, epoch):
    """Shard 1 with its replica called primary and the other way round."""
    changed = change_instance(topology, "shard1a", epoch=epoch, role=Role.REPLICA)
    return change_instance(changed, "shard1b", epoch=epoch, role=Role.PRIMARY)


def write(proxy, number, **more):
    with proxy.transaction(0, **more) as connection:
        connection.execute(INSERT, [number])
