"""Dead letters over REST: looked at, replayed once, discarded; a stopped partition resumed."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.integration.processing.poisoned import (
    PARTITION,
    append,
    bury,
    event,
    fill,
    make_drainer,
    read_ledger,
    read_total,
    too_large,
)
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.errors import PartitionNotOwned, PartitionStopped

LIST = "/v1/dead-letters"


@pytest.fixture
def log(api, servers):
    servers.valkey("log").empty_log()
    return get_event_log()


def test_an_event_replayed_over_rest_is_counted_once_however_often_it_is_asked_for(api, log):
    fill(api.cluster, to=2**63 - 1000)
    [letter] = bury(api.cluster, log, too_large(1))
    fill(api.cluster, to=0)
    [listed] = api.get(f"{LIST}?state=new", LIST, scope="admin")["dead_letters"]
    assert (listed["id"], listed["reason"], listed["event"]["video_id"]) == (str(letter), "refused_by_shard", "full")
    for _ in range(2):
        replayed = api.call("POST", f"{LIST}/{letter}/replay", scope="admin")
        assert (replayed.status_code, replayed.json()["state"]) == (200, "replayed")
        assert replayed.json()["actor"].startswith("API key admin (")
    bulk = api.post(f"{LIST}/replay", {"limit": 10}, scope="admin")
    assert (bulk["replayed"], bulk["not_replayed"]) == (0, [])
    make_drainer(api.cluster, log).drain([PARTITION])
    assert read_total(api.cluster, "full") == (1, 4000)
    assert read_ledger(api.cluster) == (3, 2, 0, 0, 1)


def test_what_cannot_be_replayed_says_why_and_can_be_discarded(api, log):
    [letter] = bury(api.cluster, log, event(1, type_id=99))
    refused = api.call("POST", f"{LIST}/{letter}/replay", scope="admin")
    assert (refused.status_code, refused.json()["code"]) == (409, "unknown_event_type")
    assert api.call("POST", f"{LIST}/{letter}/discard", scope="admin").json()["state"] == "discarded"
    refused = api.call("POST", f"{LIST}/{letter}/replay", scope="admin")
    assert (refused.status_code, refused.json()["code"]) == (409, "already_discarded")
    assert api.call("GET", LIST, scope="stats:read").status_code == 403


def test_a_stopped_partition_goes_on_with_as_many_dead_letters_as_are_accepted(api, log):
    append(log, *(event(number, type_id=99) for number in range(30)))
    with pytest.raises(PartitionStopped):
        make_drainer(api.cluster, log).drain([PARTITION])
    path = f"/v1/partitions/{PARTITION}/resume"
    answers = [api.call("POST", path, body={"accept_dead_letters": 30}, scope="admin").json() for _ in range(2)]
    assert [answer["resumed"] for answer in answers] == [True, False]
    make_drainer(api.cluster, log).drain([PARTITION])
    assert read_ledger(api.cluster) == (30, 0, 0, 0, 30)


ADMIN = "/admin/processing/deadletterrow/"


@pytest.fixture
def admin(api):
    user = User.objects.create_superuser("operator", password="x")
    client = Client()
    client.force_login(user)
    yield client
    user.delete()


def send(admin, reason=None, **fields):
    confirmed = {} if reason is None else {"confirmed": "yes", "reason": reason}
    return admin.post(ADMIN, fields | confirmed, follow=True).content.decode()


@pytest.mark.parametrize("reason", [None, " "])
def test_admin_asks_for_a_reason_before_dead_letters_are_replayed_or_discarded(api, log, admin, reason):
    letters = [str(letter) for letter in bury(api.cluster, log, event(1, type_id=99), event(2, type_id=99))]
    for action, meaning in (("discard", "never be counted"), ("replay", "counted once")):
        page = send(admin, reason, action=action, id=letters)
        assert meaning in page
        assert all(f'name="id" value="{letter}"' in page for letter in letters)
        assert ">Cancel</a>" in page
    states = [row["state"] for row in api.get(LIST, LIST, scope="admin")["dead_letters"]]
    assert states == ["new", "new"]


def test_admin_keeps_who_discarded_a_dead_letter_and_why(api, log, admin):
    first, second = map(str, bury(api.cluster, log, event(1, type_id=99), event(2, type_id=99)))
    assert "1 discarded" in send(admin, "test traffic", action="discard", id=[first])
    assert "1 unknown_event_type" in send(admin, "again", action="replay", id=[second])
    history = admin.get(f"{ADMIN}history/").content.decode()
    assert "operator" in history
    assert f"dead letter {first}" in history
    assert "Discarded: test traffic" in history
    assert second not in history  # nothing was done to it
    assert f'href="{ADMIN}history/"' in admin.get(ADMIN).content.decode()


def test_admin_asks_before_a_stopped_partition_goes_on_and_keeps_why(api, log, admin):
    append(log, *(event(number, type_id=99) for number in range(30)))
    with pytest.raises(PartitionStopped):
        make_drainer(api.cluster, log).drain([PARTITION])
    for reason in (None, ""):
        page = send(admin, reason, action="resume", partition=PARTITION, accept_dead_letters=30)
        assert "Its next 30 dead letters are accepted" in page
        with pytest.raises(PartitionNotOwned):
            make_drainer(api.cluster, log).drain([PARTITION])
    assert "is resumed" in send(admin, "bad release", action="resume", partition=PARTITION, accept_dead_letters=30)
    make_drainer(api.cluster, log).drain([PARTITION])
    kept = "Resumed, accepting 30 dead letters: bad release"
    assert kept in admin.get(f"/admin/configservice/partitionassignment/{PARTITION}/history/").content.decode()
    assert kept in admin.get(f"{ADMIN}history/").content.decode()
