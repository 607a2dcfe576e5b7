"""Every change of the cluster at an address, page by page."""

import pytest

from configservice.models import Instance, Shard, TopologyEpoch
from configservice.topology.publication import publish
from tests.integration.api.conftest import Api

HISTORY = "/v1/cluster/history"


@pytest.fixture
def zones(api: Api):
    """Three epochs more than there were, each with another zone of shard2b; put back afterwards."""
    first = TopologyEpoch.objects.count() + 1
    for zone in ("east", "west", "north"):
        Instance.objects.filter(name="shard2b").update(zone=zone)
        publish(reason=f"to the {zone}", actor="ada")
    yield first
    Instance.objects.filter(name="shard2b").update(zone="local")
    publish(reason="back", actor="ada")


def test_a_change_says_who_when_why_before_and_after(api: Api, zones: int):
    newest = api.get(f"{HISTORY}?limit=1", HISTORY, scope="admin")
    (entry,) = newest["entries"]
    at = entry.pop("at")
    assert entry == {
        "epoch": zones + 2,
        "actor": "ada",
        "reason": "to the north",
        "changes": [{"kind": "instance", "name": "shard2b", "field": "zone", "before": "west", "after": "north"}],
    }
    assert at == TopologyEpoch.objects.first().created_at.isoformat().replace("+00:00", "Z")
    assert newest["next_cursor"] == str(zones + 2)


def test_pages_reach_the_beginning_and_name_each_epoch_once(api: Api, zones: int):
    epochs, cursor = [], ""
    while cursor is not None:
        page = api.get(f"{HISTORY}?limit=2{cursor}", HISTORY, scope="admin")
        epochs += [entry["epoch"] for entry in page["entries"]]
        cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
    assert epochs == list(range(zones + 2, 0, -1))
    beginning = page["entries"][-1]
    assert {(c["kind"], c["name"]) for c in beginning["changes"]} >= {("shard", name) for name in list_shards()}
    assert beginning["changes"][-1]["after"] == api.cluster.topology.partition_count


def list_shards() -> list[str]:
    return list(Shard.objects.values_list("name", flat=True))


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("limit=0", "limit", "out_of_range"),
        ("limit=101", "limit", "out_of_range"),
        ("limit=some", "limit", "not_an_integer"),
        ("cursor=-1", "cursor", "invalid_cursor"),
        ("cursor=" + "9" * 19, "cursor", "invalid_cursor"),
        ("since=1", "since", "unknown_parameter"),
    ],
)
def test_what_cannot_be_asked_is_named(api: Api, query: str, field: str, code: str):
    answer = api.call("GET", f"{HISTORY}?{query}", scope="admin")
    assert answer.status_code == 422
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


def test_history_is_for_admins(api: Api):
    assert api.call("GET", HISTORY).json()["code"] == "missing_scope"
