"""May this server join? Every refusal with its field."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

import msgspec
import pytest

from configservice.join.server_info import KnownServer, ServerFacts, Table
from configservice.join.validation import validate_address, validate_names, validate_new_primary, validate_new_replica
from configservice.topology.allow_list import parse_allow_list
from configservice.topology.model import Role
from tests.unit.clusterproxy.builders import build_instance, build_topology

OURS, THEIRS = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
SCHEMA = "0001_initial"


def started(second):
    return datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)


PRIMARY1 = ServerFacts(
    version=180001,
    system_identifier="7001",
    started_at=started(1),
    in_recovery=False,
    is_receiving=False,
    lsn=1000,
    streaming=("shard1b", "shard1c"),
    cluster_id=OURS,
    schema_version=SCHEMA,
    positions={0: "50-1", 1: "60-0"},
)
FLOORS = {0: (50, 1), 1: (0, 0)}
REPLICA1 = replace(PRIMARY1, started_at=started(2), in_recovery=True, is_receiving=True, lsn=990, streaming=())
PRIMARY2 = replace(PRIMARY1, system_identifier="7002", started_at=started(3), streaming=())
KNOWN = [
    KnownServer("shard1a", "shard1", Role.PRIMARY, PRIMARY1),
    KnownServer("shard1b", "shard1", Role.REPLICA, REPLICA1),
    KnownServer("shard2a", "shard2", Role.PRIMARY, PRIMARY2),
]
EMPTY = replace(PRIMARY2, system_identifier="7003", started_at=started(4), cluster_id=None, schema_version=None)
BOOKKEEPING, IDENTITY = Table("public", "django_migrations"), Table("public", "shard_identity")
RAW, FOREIGN = Table("public", "raw_event"), Table("crm", "customer")
MIGRATED = replace(EMPTY, schema_version=SCHEMA, cluster_id=OURS, tables=(BOOKKEEPING, RAW, IDENTITY))
NEW_REPLICA = replace(REPLICA1, started_at=started(5))


def classify_primary(found, known=KNOWN):
    refusals = validate_new_primary(found, known, cluster_id=OURS, schema_version=SCHEMA)
    return [str(refusal) for refusal in refusals]


def validate_replica(found, *, name="shard1c", shard="shard1", known=KNOWN, floors=FLOORS):
    refusals = validate_new_replica(
        name, found, shard=shard, known=known, cluster_id=OURS, max_lag_bytes=100, floors=floors
    )
    return [str(refusal) for refusal in refusals]


@pytest.mark.parametrize(
    "found",
    [
        EMPTY,
        replace(EMPTY, tables=(BOOKKEEPING,)),
        replace(MIGRATED, filled=(BOOKKEEPING, IDENTITY)),
        replace(MIGRATED, cluster_id=None),
    ],
    ids=["nothing", "an attempt that was cut off early", "one that was cut off late", "not stamped yet"],
)
def test_a_shard_may_begin_where_there_is_nothing_or_what_we_have_left(found):
    assert classify_primary(found) == []


@pytest.mark.parametrize(
    ("found", "refusals"),
    [
        (replace(EMPTY, version=140010), ["host: PostgreSQL 14 is too old: 15 or later is needed"]),
        (PRIMARY2, ["host: this is shard2a of shard2 at another address"]),
        (replace(EMPTY, system_identifier="7002"), ["host: it is a copy of shard2a of shard2"]),
        (replace(EMPTY, in_recovery=True), ["host: it is a standby; a new shard begins with a primary"]),
        (replace(MIGRATED, cluster_id=THEIRS), [f"database: it belongs to another cluster, {THEIRS}"]),
        (replace(EMPTY, tables=(FOREIGN, RAW)), ["database: it is not empty: it has crm.customer, raw_event"]),
        (replace(MIGRATED, filled=(IDENTITY, RAW)), ["database: it is not empty: there are rows in raw_event"]),
        (
            replace(MIGRATED, schema_version="0000_old"),
            ["database: it has schema 0000_old, this release has 0001_initial"],
        ),
        (
            replace(EMPTY, may_create=False),
            ["user: this user may not create tables in the schema public of the database"],
        ),
    ],
    ids=["old", "known", "copy", "standby", "foreign cluster", "foreign tables", "rows", "other schema", "no right"],
)
def test_a_shard_begins_nowhere_else(found, refusals):
    assert classify_primary(found) == refusals


def test_many_tables_are_not_all_named():
    tables = tuple(Table("public", f"t{n}") for n in range(7))
    assert classify_primary(replace(EMPTY, tables=tables)) == [
        "database: it is not empty: it has t0, t1, t2, t3, t4 and 2 more"
    ]


def test_while_a_whole_shard_is_silent_nobody_can_say_that_this_is_not_a_copy_of_it():
    silent = [*KNOWN[:2], KnownServer("shard2a", "shard2", Role.PRIMARY, None)]
    assert classify_primary(EMPTY, silent) == [
        "host: whether it is a copy of shard2 is unknown: no instance of that answers"
    ]
    one_of_two = [KnownServer("shard1a", "shard1", Role.PRIMARY, None), *KNOWN[1:]]
    assert classify_primary(EMPTY, one_of_two) == []


def test_a_replica_that_follows_closely_may_join():
    assert validate_replica(NEW_REPLICA) == []
    assert validate_replica(replace(NEW_REPLICA, lsn=900)) == []


@pytest.mark.parametrize(
    ("found", "refusals"),
    [
        (replace(NEW_REPLICA, version=140010), ["host: PostgreSQL 14 is too old: 15 or later is needed"]),
        (REPLICA1, ["host: this is shard1b of shard1 at another address"]),
        (replace(NEW_REPLICA, system_identifier="7002"), ["host: it is a copy of shard2, not of shard1"]),
        (replace(NEW_REPLICA, system_identifier="7009"), ["host: it is a copy of another server, not of shard1"]),
        (
            replace(NEW_REPLICA, in_recovery=False),
            ["host: it is not a standby; make it one by pg_basebackup from the primary"],
        ),
        (
            replace(NEW_REPLICA, is_receiving=False),
            ["host: it receives no WAL; point its primary_conninfo to shard1a"],
        ),
        (replace(NEW_REPLICA, lsn=899), ["host: it is 101 bytes behind shard1a, more than 100"]),
        (replace(NEW_REPLICA, schema_version=None), ["database: it has schema none, shard1a has 0001_initial"]),
        (replace(NEW_REPLICA, cluster_id=THEIRS), [f"database: it belongs to another cluster, {THEIRS}"]),
    ],
    ids=["old", "known", "other shard", "stranger", "promoted", "not streaming", "late", "no schema", "foreign"],
)
def test_a_replica_that_is_none_of_this_shard_is_refused(found, refusals):
    assert validate_replica(found) == refusals


def test_a_replica_must_stream_under_its_name():
    (refusal,) = validate_replica(NEW_REPLICA, name="shard1x")
    assert refusal.startswith("name: no standby streams from shard1a under this name")


def test_a_replica_that_lacks_what_the_log_no_longer_holds_does_not_join():
    refusal = (
        "host: it lacks entries of partitions 0 that the event log no longer holds: "
        "wait until it has caught up with shard1a"
    )
    assert validate_replica(NEW_REPLICA, floors={0: (50, 2), 1: (60, 0)}) == [refusal]


def test_a_shard_whose_primary_is_away_gets_no_replica():
    silent = [KnownServer("shard1a", "shard1", Role.PRIMARY, None), *KNOWN[1:]]
    assert validate_replica(NEW_REPLICA, known=silent) == [
        "shard: shard1 has a primary, shard1a, that does not answer: the server cannot be compared with it"
    ]


def test_a_name_or_an_address_is_used_once():
    taken = msgspec.structs.replace(build_instance("shard9a", Role.PRIMARY), host="10.0.0.1")
    assert validate_names(taken, build_topology(), new_shard="shard9") == []
    assert [str(r) for r in validate_names(taken, build_topology(), new_shard="shard2")] == [
        "shard: there is a shard shard2 already"
    ]
    again = msgspec.structs.replace(taken, name="shard2b")
    assert [str(r) for r in validate_names(again, build_topology())] == [
        "name: shard2b is an instance of shard2 already"
    ]
    there = build_instance("shard9a", Role.PRIMARY)
    assert str(validate_names(there, build_topology())[0]) == "host: this is shard1a of shard1"


def test_every_address_of_a_name_must_be_allowed():
    allowed = parse_allow_list("10.0.0.0/8:5432")
    inside, outside = ip_address("10.0.0.1"), ip_address("169.254.169.254")
    assert validate_address([inside], host="db1", port=5432, allowed=allowed) is None
    assert str(validate_address([inside, outside], host="db1", port=5432, allowed=allowed)) == (
        "host: db1 is 169.254.169.254, which is not allowed with port 5432:"
        " see VIEWCOUNTER_CONFIGSERVICE_INSTANCE_ALLOW_LIST"
    )
    assert str(validate_address([inside], host="10.0.0.1", port=22, allowed=allowed)) == (
        "host: 10.0.0.1 is not allowed with port 22: see VIEWCOUNTER_CONFIGSERVICE_INSTANCE_ALLOW_LIST"
    )
    assert str(validate_address([], host="nowhere", port=5432, allowed=allowed)) == "host: nowhere has no address"
