"""Conflicts and dead letters: lists whose rows lie on all shards, over REST and in the admin."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.integration.processing.draining import make_drainer
from tests.unit.processing.builders import uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.events.message import VIDEO_ID_MAX_CHARACTERS
from viewcounter.events.partition import get_partition

NOW_US = int(datetime.now(UTC).timestamp() * 1_000_000)
FLUSHES = 3
UNKNOWN_TYPE = 99


@dataclass(frozen=True)
class Listed:
    """Where a list is found, and the ids of the events that stand in it by partition, in the log's order."""

    path: str
    name: str
    admin_path: str
    events: dict[int, list[UUID]]

    @property
    def all_events(self) -> set[UUID]:
        return {event for events in self.events.values() for event in events}

    def read(self, api, query=""):
        return api.get(f"{self.path}{query}", self.path, scope="admin")

    def list_ids(self, page):
        events = [row if self.name == "conflicts" else row["event"] for row in page[self.name]]
        return [UUID(event["event_id"]) for event in events]


def find_videos(cluster):
    """A video of a partition of each shard."""
    videos = {}
    for shard in cluster.topology.shards:
        partition = cluster.topology.get_partitions_of(shard.id)[0]
        numbers = iter(range(10_000))
        videos[partition] = next(
            video
            for video in (f"video-{number}" for number in numbers)
            if get_partition(video, partition_count=cluster.topology.partition_count) == partition
        )
    return videos


def flush(cluster, log, partition, video, number):
    """One flush with a counted event, a conflict with it and an event of a type that nobody knows."""
    counted, bad = uuid4_of(partition * 100 + number), uuid4_of(partition * 100 + 50 + number)
    events = [
        AcceptedEvent(counted.bytes, video, 1, NOW_US, 1000),
        AcceptedEvent(counted.bytes, video, 6, NOW_US, 2500),
        AcceptedEvent(bad.bytes, video, UNKNOWN_TYPE, NOW_US, 1000),
    ]
    log.append({partition: pack_entry(events, received_us=NOW_US)})
    make_drainer(cluster, log).drain([partition])
    return counted, bad


@pytest.fixture
def videos(api):
    return find_videos(api.cluster)


@pytest.fixture(params=["conflicts", "dead_letters"])
def listed(request, api, videos):
    log = MemoryEventLog()
    conflicts = {partition: [] for partition in videos}
    dead = {partition: [] for partition in videos}
    for number in range(FLUSHES):
        for partition, video in videos.items():
            counted, bad = flush(api.cluster, log, partition, video, number)
            conflicts[partition].append(counted)
            dead[partition].append(bad)
    if request.param == "conflicts":
        return Listed("/v1/conflicts", "conflicts", "/admin/processing/conflictrow/", conflicts)
    return Listed("/v1/dead-letters", "dead_letters", "/admin/processing/deadletterrow/", dead)


@pytest.mark.parametrize("limit", [1, 2, 4, 6])
def test_pages_go_over_all_shards_newest_first_and_neither_repeat_nor_skip(api, listed, limit):
    everything = listed.read(api)
    times = [row["created_at"] for row in everything[listed.name]]
    assert times == sorted(times, reverse=True)
    assert set(listed.list_ids(everything)) == listed.all_events
    assert (len(times), everything["next_cursor"], everything["partial"]) == (2 * FLUSHES, None, False)
    paged, cursor = [], ""
    while cursor is not None:
        page = listed.read(api, f"?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        assert len(page[listed.name]) <= limit
        paged += listed.list_ids(page)
        cursor = page["next_cursor"]
    assert paged == listed.list_ids(everything)


def test_filters_choose_by_partition_and_by_video(api, listed, videos):
    for partition, video in videos.items():
        own = listed.events[partition][::-1]
        assert listed.list_ids(listed.read(api, f"?partition={partition}")) == own
        assert listed.list_ids(listed.read(api, f"?video_id={video}")) == own
        assert listed.list_ids(listed.read(api, f"?video_id={video}&partition={partition}")) == own
    first, second = videos
    assert listed.list_ids(listed.read(api, f"?video_id={videos[first]}&partition={second}")) == []
    assert listed.list_ids(listed.read(api, "?video_id=nobody")) == []


def test_a_conflict_tells_the_event_that_was_not_counted(api, videos):
    partition, video = next(iter(videos.items()))
    counted, _ = flush(api.cluster, MemoryEventLog(), partition, video, 7)
    [conflict] = api.get("/v1/conflicts", "/v1/conflicts", scope="admin")["conflicts"]
    occurred_at = datetime.fromtimestamp(NOW_US / 1_000_000, UTC)
    assert UUID(conflict["event_id"]) == counted
    assert (conflict["video_id"], conflict["partition"]) == (video, partition)
    assert (conflict["event_type"], conflict["event_type_id"], conflict["value"]) == ("watch_time", 6, 2.5)
    for name in ("occurred_at", "received_at"):
        assert abs(datetime.fromisoformat(conflict[name]) - occurred_at).total_seconds() < 1e-5
    counts = api.get(f"/v1/videos/{video}/counts", "/v1/videos/{video_id}/counts")["counts"]
    assert (counts["view"], counts["watch_time"]) == (1, 0)


def test_a_conflict_with_an_endless_video_id_is_kept_with_the_beginning_of_it(api, videos):
    partition, video = next(iter(videos.items()))
    log, event_id = MemoryEventLog(), uuid4_of(1).bytes
    named = [AcceptedEvent(event_id, name, 1, NOW_US, 1000) for name in (video, "x" * 5000)]
    log.append({partition: pack_entry(named, received_us=NOW_US)})
    report = make_drainer(api.cluster, log).drain([partition])
    assert (report.counted, report.conflict, report.dead_letter_count) == (1, 1, 0)
    [conflict] = api.get("/v1/conflicts", "/v1/conflicts", scope="admin")["conflicts"]
    assert conflict["video_id"] == "x" * VIDEO_ID_MAX_CHARACTERS


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("?partition=32", "partition", "unknown_partition"),
        ("?partition=-1", "partition", "unknown_partition"),
        ("?partition=x", "partition", "not_an_integer"),
        ("?video_id=", "video_id", "invalid_id"),
        ("?limit=0", "limit", "out_of_range"),
        ("?limit=501", "limit", "out_of_range"),
        ("?cursor=x", "cursor", "invalid_cursor"),
        ("?vidoe_id=a", "vidoe_id", "unknown_parameter"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/conflicts", "/v1/dead-letters"])
def test_a_bad_parameter_is_named(api, path, query, field, code):
    answer = api.call("GET", path + query, scope="admin")
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["field"], error["code"]) == (field, code)


def test_the_cursor_of_one_list_is_none_of_the_other(api, listed):
    cursor = listed.read(api, "?limit=1")["next_cursor"]
    other = "/v1/dead-letters" if listed.name == "conflicts" else "/v1/conflicts"
    assert api.call("GET", f"{other}?cursor={cursor}", scope="admin").status_code == 422


@pytest.mark.parametrize("path", ["/v1/conflicts", "/v1/dead-letters"])
def test_only_a_key_for_operators_reads_them(api, path):
    assert api.call("GET", path).status_code == 403
    assert api.call("GET", path, scope=None).status_code == 401


@pytest.fixture
def admin(api):
    User.objects.filter(username="ada").delete()
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    yield client
    User.objects.filter(username="ada").delete()


def test_the_admin_shows_them_page_by_page(listed, admin, monkeypatch):
    for module in ("conflict_admin", "dead_letter_admin"):
        monkeypatch.setattr(f"viewcounter.deadletters.{module}.PAGE_SIZE", 4)
    first = admin.get(listed.admin_path).content.decode()
    [following] = re.findall(r'<a href="(\?[^"]*)">Next page', first)
    second = admin.get(listed.admin_path + unescape(following)).content.decode()
    assert "Next page" not in second
    on_first, on_second = ({event for event in listed.all_events if str(event) in page} for page in (first, second))
    assert (len(on_first), len(on_second)) == (4, 2)
    assert on_first | on_second == listed.all_events


def test_the_admin_filters_by_partition_and_video(listed, admin, videos):
    partition, video = next(iter(videos.items()))
    for query in (f"?partition={partition}", f"?video_id={video}"):
        page = admin.get(listed.admin_path + query).content.decode()
        assert {event for event in listed.all_events if str(event) in page} == set(listed.events[partition])


def test_the_admin_keeps_those_out_who_may_not_view(listed, admin):
    User.objects.filter(username="ada").update(is_superuser=False, is_staff=True)
    assert admin.get(listed.admin_path).status_code == 403
    assert admin.post(listed.admin_path).status_code == 403
