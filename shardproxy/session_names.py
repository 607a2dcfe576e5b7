"""What our sessions are called on a server, so that whoever looks at one there knows what it is for.

`application_name` is `<application> <purpose>`. The pool sets it together with the time budget of a query's class, so
it costs no round trip of its own; see decision 0020.
"""

from enum import StrEnum

from shardproxy.query import QueryClass


class Purpose(StrEnum):
    """What a session of ours is for when it runs no queries of a class. The killer never touches these."""

    HEALTH = "health"
    SHARD_PROXY = "shardproxy"
    CONFIG_SERVICE = "configservice"
    MIGRATION = "migrate_shards"
    MOVE = "move_partitions"


_PURPOSES: dict[str, QueryClass | Purpose] = {
    purpose.value: purpose for kind in (QueryClass, Purpose) for purpose in kind
}


def name_session(application: str, purpose: QueryClass | Purpose) -> str:
    return f"{application} {purpose}"


def find_purpose(session_name: str, *, application: str) -> QueryClass | Purpose | None:
    """None for the name of somebody else's session, or of ours before its first query."""
    prefix, _, purpose = session_name.partition(" ")
    return _PURPOSES.get(purpose) if prefix == application else None
