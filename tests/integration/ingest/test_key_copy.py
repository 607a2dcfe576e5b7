"""The host's copy of API keys: written from the real control database, and what it lets through without it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from django.db import connections

from configservice.models import Cluster
from devtools.localcluster.cluster import LocalCluster
from viewcounter.api.permissions import check_scope
from viewcounter.apikeys import authentication
from viewcounter.apikeys.authentication import authenticate, digest_token, get_key_cache, knows_key
from viewcounter.apikeys.errors import AdminUnconfirmed, InvalidKey, KeysUnavailable
from viewcounter.apikeys.key_copy import KeyCopy
from viewcounter.apikeys.key_file import find_key_list, write_key_list
from viewcounter.apikeys.keys import create_key, revoke_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import KeyKind, Scope

SECRET = "s" * 50
DAY = timedelta(days=1)


@pytest.fixture
def folder(control_database: LocalCluster, tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def start_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., KeyCopy]:
    """A process of the host that has just started: it knows what is on the disk, its thread has not run yet."""

    def start(*, max_keys: int = 100, secret: str = SECRET) -> KeyCopy:
        get_key_cache().clear()
        copy = KeyCopy(
            folder, secret=secret, find_cluster_id=lambda: "cluster", interval_seconds=3600.0, max_keys=max_keys
        )
        monkeypatch.setattr(authentication, "get_key_copy", lambda: copy)
        copy.load()
        return copy

    return start


@contextmanager
def away(cluster: LocalCluster) -> Iterator[None]:
    control = cluster.server("control")
    control.kill()
    try:
        yield
    finally:
        control.start()
        control.wait_ready()
        connections.close_all()


def read_file(folder: Path):
    keys = find_key_list(folder / "api_keys", secret=SECRET, cluster_id="cluster")
    assert keys is not None
    return keys


def age_file(folder: Path, age: timedelta) -> None:
    keys = msgspec.structs.replace(read_file(folder), read_at=datetime.now(UTC) - age)
    write_key_list(folder / "api_keys", keys, secret=SECRET)


def test_a_process_that_starts_without_the_control_database_accepts_keys_by_the_file(
    folder, start_process, control_database
):
    expires_at = datetime.now(UTC) + DAY
    _, app = create_key("app", [Scope.STATS_READ], expires_at=expires_at, requests_per_second=7, events_per_second=9)
    _, page = create_key("page", [Scope.EVENTS_WRITE], kind=KeyKind.PUBLIC, allowed_origins=["https://www.example.com"])
    _, ended = create_key("ended", [Scope.STATS_READ], expires_at=datetime.now(UTC) - DAY)
    revoked_key, revoked = create_key("revoked", [Scope.STATS_READ])
    revoke_key(revoked_key.prefix, now=datetime.now(UTC))
    confirmed = [authenticate(app), authenticate(page)]
    start_process().refresh()
    _, unknown = create_key("unknown", [Scope.STATS_READ])
    age_file(folder, 400 * DAY)
    with away(control_database):
        start_process()
        assert knows_key()
        assert [authenticate(app), authenticate(page)] == confirmed
        for token in (ended, revoked, app[:-1] + ("A" if app[-1] != "A" else "B"), page.replace("vcp_", "vc_")):
            with pytest.raises(InvalidKey):
                authenticate(token)
        with pytest.raises(KeysUnavailable):
            authenticate(unknown)


def test_control_database_that_is_being_rebuilt_takes_no_known_key_away(folder, start_process):
    row, known = create_key("known", [Scope.STATS_READ])
    _, unknown = create_key("unknown", [Scope.STATS_READ])
    ApiKey.objects.filter(name="unknown").delete()
    start_process().refresh()
    confirmed = authenticate(known)
    cluster = Cluster.objects.get()
    Cluster.objects.all().delete()
    ApiKey.objects.all().delete()
    try:
        start_process().refresh()
        assert authenticate(known) == confirmed
        with pytest.raises(KeysUnavailable):
            authenticate(unknown)
        assert row.prefix in [record.prefix for record in read_file(folder).keys]
    finally:
        cluster.save(force_insert=True)
    start_process()
    with pytest.raises(InvalidKey):
        authenticate(known)


def test_without_a_file_every_key_is_unavailable_and_the_log_says_so(start_process, control_database, caplog):
    _, token = create_key("app", [Scope.EVENTS_WRITE])
    with away(control_database), caplog.at_level(logging.WARNING):
        copy = start_process()
        copy.refresh()
        copy.refresh()
        assert not knows_key()
        with pytest.raises(KeysUnavailable):
            authenticate(token)
    said = [r.message for r in caplog.records if r.name == "viewcounter.apikeys.key_copy"]
    assert [text.partition(":")[0] for text in said] == [
        "the control database does not answer",
        "this host has no copy of the API keys",
    ]


@pytest.mark.parametrize("spoil", ["mode", "mac", "other_cluster"])
def test_a_refused_file_lets_no_key_through_and_is_replaced(folder, start_process, control_database, caplog, spoil):
    _, token = create_key("app", [Scope.EVENTS_WRITE])
    start_process().refresh()
    path = folder / "api_keys"
    if spoil == "mode":
        path.chmod(0o644)
    else:
        cluster_id, secret = ("another", SECRET) if spoil == "other_cluster" else ("cluster", "t" * 50)
        forged = msgspec.structs.replace(read_file(folder), cluster_id=cluster_id)
        write_key_list(path, forged, secret=secret)
    with away(control_database):
        copy = start_process()
        copy.load()
        with pytest.raises(KeysUnavailable):
            authenticate(token)
    assert [r.message.partition(":")[0] for r in caplog.records if r.levelno == logging.ERROR] == [
        f"{path} is not used"
    ]
    copy.refresh()
    assert [record.prefix for record in read_file(folder).keys] == [token.split("_")[1]]


def test_scope_admin_ends_a_day_after_the_file_was_read_and_other_scopes_do_not(
    folder, start_process, control_database
):
    _, token = create_key("app", [Scope.ADMIN, Scope.STATS_READ])
    start_process().refresh()
    with away(control_database):
        for age in (DAY - timedelta(minutes=1), timedelta(seconds=-59)):
            age_file(folder, age)
            start_process()
            check_scope(authenticate(token), Scope.ADMIN)
        for age in (DAY + timedelta(seconds=1), timedelta(minutes=-2)):  # and under a clock that was ahead
            age_file(folder, age)
            start_process()
            for key in (authenticate(token), authenticate(token)):  # by the file, then by this process's own memory
                check_scope(key, Scope.STATS_READ)
                with pytest.raises(AdminUnconfirmed):
                    check_scope(key, Scope.ADMIN)
    authentication.get_key_cache().clear()
    check_scope(authenticate(token), Scope.ADMIN)


def test_a_revocation_known_to_the_copy_holds_for_a_key_cached_as_valid(start_process, control_database):
    key, token = create_key("app", [Scope.EVENTS_WRITE])
    copy = start_process()
    answer = get_key_cache().confirm(digest_token(token), authenticate(token), now=0.0)
    revoke_key(key.prefix, now=datetime.now(UTC))
    copy.refresh()
    with away(control_database):
        get_key_cache().record_asked(digest_token(token), answer, now=0.0)
        with pytest.raises(InvalidKey):
            authenticate(token)


def test_a_look_up_that_finds_a_new_or_revoked_key_makes_the_copy_read_it_at_once(folder, start_process):
    copy = start_process()
    copy.refresh()
    key, token = create_key("app", [Scope.EVENTS_WRITE])
    copy.refresh()  # the file is young: another process may have written it
    assert read_file(folder).keys == ()
    authenticate(token)
    copy.refresh()
    assert [record.revoked_at for record in read_file(folder).keys] == [None]
    revoke_key(key.prefix, now=datetime.now(UTC))
    get_key_cache().clear()
    with pytest.raises(InvalidKey):
        authenticate(token)
    copy.refresh()
    assert [record.revoked_at is None for record in read_file(folder).keys] == [False]
    with pytest.raises(InvalidKey):
        authenticate(f"vc_{'0' * 12}_{'x' * 43}")
    revoke_key(create_key("other", [Scope.EVENTS_WRITE])[0].prefix, now=datetime.now(UTC))
    copy.refresh()
    assert len(read_file(folder).keys) == 1  # an invented key costs no reading


def test_processes_of_a_host_share_one_reading_of_the_control_database(
    folder, start_process, django_assert_num_queries
):
    create_key("app", [Scope.EVENTS_WRITE])
    first, second = start_process(), start_process()
    first.refresh()
    with django_assert_num_queries(0):
        second.refresh()
    assert second.keys.records == first.keys.records
    assert len(second.keys.records) == 1


def test_past_its_bound_the_copy_keeps_valid_keys_of_the_latest_use(folder, start_process, caplog):
    now = datetime.now(UTC)
    for number, hours in ((1, 3), (2, 1), (3, 2)):
        key, _ = create_key(f"used {number}", [Scope.EVENTS_WRITE])
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now - timedelta(hours=hours))
    revoked, _ = create_key("revoked", [Scope.EVENTS_WRITE])
    revoke_key(revoked.prefix, now=now)
    start_process(max_keys=2).refresh()
    assert [record.name for record in read_file(folder).keys] == ["used 2", "used 3"]
    assert "the copy of the API keys holds 2 of them, there are more" in caplog.messages


def test_keys_are_known_from_memory_although_their_folder_cannot_be_written(folder, start_process, caplog):
    create_key("app", [Scope.EVENTS_WRITE])
    folder.write_text("a file where the folder should be")
    copy = start_process()
    copy.refresh()
    assert [record.name for record in copy.keys.records.values()] == ["app"]
    assert "API keys cannot be written" in caplog.text
