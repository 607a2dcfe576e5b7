"""Which API keys a rebuilt control database gets from the files of gateways."""

from datetime import UTC, datetime

import msgspec

from viewcounter.apikeys.key_file import KeyList, KeyRecord
from viewcounter.apikeys.key_recovery import KeyRecovery, plan_recovery
from viewcounter.apikeys.scopes import KeyKind

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(hour):
    return NOON.replace(hour=hour)


def make_record(prefix, **changes):
    record = KeyRecord(
        prefix=prefix,
        secret_sha256=b"d" * 32,
        name="a key",
        kind=KeyKind.SECRET,
        scopes=("stats:read",),
        allowed_origins=(),
        requests_per_second=None,
        events_per_second=None,
        expires_at=None,
        revoked_at=None,
    )
    return msgspec.structs.replace(record, **changes)


def make_list(hour, *records):
    return KeyList("a cluster", at(hour), records)


def test_missing_keys_are_added_as_the_last_list_has_them():
    old, new = make_record("one", name="old"), make_record("one", name="new")
    lists = [make_list(9, new, make_record("two")), make_list(8, old)]
    assert plan_recovery(lists, {"two": None}) == KeyRecovery(added=(new,), revoked={})


def test_revocation_that_any_list_knows_counts():
    lists = [make_list(9, make_record("one"), make_record("two")), make_list(8, make_record("one", revoked_at=at(7)))]
    assert plan_recovery(lists, {}).added == (make_record("one", revoked_at=at(7)), make_record("two"))
    assert plan_recovery(lists, {"one": None, "two": None}) == KeyRecovery(added=(), revoked={"one": at(7)})


def test_keys_that_the_control_database_has_are_not_changed_otherwise():
    lists = [make_list(9, make_record("one", name="another"), make_record("two", revoked_at=at(7)))]
    assert plan_recovery(lists, {"one": None, "two": at(6)}) == KeyRecovery(added=(), revoked={})


def test_without_a_list_nothing_is_recovered():
    assert plan_recovery([], {"one": None}) == KeyRecovery(added=(), revoked={})
