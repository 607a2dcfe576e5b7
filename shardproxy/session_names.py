"""Names of our sessions (`application_name`), which tell operators and the session reaper their purpose.

The format is `<application> <purpose>`. The pool sets the name in the same statement as the time budget of a query
class, so it costs no extra round trip; see decision 0020.
"""

from enum import StrEnum

from shardproxy.query import QueryClass


class Purpose(StrEnum):
    """Purposes of sessions that run no queries of a class. The session reaper never ends these."""

    HEALTH = "health"
    SHARD_PROXY = "shardproxy"
    CONFIG_SERVICE = "configservice"
    MIGRATION = "migrate_shards"
    MOVE = "move_partitions"


_PURPOSES: dict[str, QueryClass | Purpose] = {
    purpose.value: purpose for kind in (QueryClass, Purpose) for purpose in kind
}


def format_session_name(application: str, purpose: QueryClass | Purpose) -> str:
    return f"{application} {purpose}"


def find_purpose(session_name: str, *, application: str) -> QueryClass | Purpose | None:
    """None for the name of a foreign session, or of one of ours before its first query."""
    prefix, _, purpose = session_name.partition(" ")
    return _PURPOSES.get(purpose) if prefix == application else None
