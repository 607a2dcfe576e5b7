"""Videos get their titles when a flush first sees them, later if the catalogue learns them later, stale if need be."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connections

from clusterproxy.proxy import ClusterProxy
from tests.integration.catalogue.state import read_copies
from tests.integration.processing.draining import make_drainer
from tests.integration.queries.rows import await_replicas, find_videos_by_shard
from tests.waiting import wait_until
from viewcounter.catalogue.changes import ChannelEntry, VideoEntry, put_catalogue, put_channel, put_video
from viewcounter.catalogue.local_copy import LocalCopy
from viewcounter.catalogue.models import Channel, Video
from viewcounter.catalogue.refresh import Refresher, refresh_local_copy
from viewcounter.catalogue.sync import sync_catalogue
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.events.partition import get_partition
from viewcounter.queries.counts import get_counts

SECONDS = 20.0


@pytest.fixture
def copy(empty_catalogue: ClusterProxy, tmp_path: Path) -> Iterator[LocalCopy]:
    copy = LocalCopy(tmp_path / "catalogue.sqlite3")
    yield copy
    copy.close()


def refresh(copy: LocalCopy) -> None:
    while refresh_local_copy(copy, batch=2):
        pass


def count_view(cluster: ClusterProxy, copy: LocalCopy, video_id: str) -> None:
    """One event, drained as a worker does."""
    partition = get_partition(video_id, partition_count=cluster.topology.partition_count)
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    log = MemoryEventLog()
    log.append({partition: pack_entry([AcceptedEvent(uuid4().bytes, video_id, 1, now_us, 1000)], received_us=now_us)})

    assert make_drainer(cluster, log, find_copies=copy.find_copies).drain([partition]).counted == 1


def read_copy(cluster: ClusterProxy, video_id: str) -> tuple[str, str | None]:
    """Title and channel on the video's shard."""
    shard = cluster.topology.get_shard_of(get_partition(video_id, partition_count=cluster.topology.partition_count))
    title, channel_id, _ = read_copies(cluster)[shard.id][1][video_id]
    return title, channel_id


def test_a_video_of_the_catalogue_has_title_and_channel_from_its_first_flush_on(empty_catalogue, copy):
    put_catalogue(
        channels=[ChannelEntry("c", "Channel")],
        videos=[VideoEntry("first", "First", "c"), VideoEntry("second", "Second", "c"), VideoEntry("third", "Third")],
    )
    refresh(copy)
    for video_id in ("first", "second", "third"):
        count_view(empty_catalogue, copy, video_id)
    assert read_copy(empty_catalogue, "first") == ("First", "c")
    assert read_copy(empty_catalogue, "second") == ("Second", "c")
    assert read_copy(empty_catalogue, "third") == ("Third", None)
    channels = {c: t for channels, _ in read_copies(empty_catalogue).values() for c, (t, _) in channels.items()}
    assert channels == {"c": "Channel"}


def test_an_unknown_video_is_counted_at_once_and_gets_its_title_later(empty_catalogue, copy):
    refresh(copy)
    count_view(empty_catalogue, copy, "unknown")
    await_replicas(empty_catalogue)
    answer = get_counts(empty_catalogue, video_id="unknown", now=datetime.now(UTC))
    assert answer.video.counts["view"] == 1
    assert read_copy(empty_catalogue, "unknown") == ("", None)
    put_catalogue(channels=[ChannelEntry("c", "Channel")], videos=[VideoEntry("unknown", "Known", "c")])
    while sync_catalogue(empty_catalogue, batch=10):
        pass
    assert read_copy(empty_catalogue, "unknown") == ("Known", "c")


def test_a_stale_title_is_put_right_by_the_copying_that_follows(empty_catalogue, copy):
    put_catalogue(channels=[ChannelEntry("c", "Old"), ChannelEntry("d", "Other")], videos=[VideoEntry("v", "Old", "c")])
    refresh(copy)
    put_channel(ChannelEntry("c", "New"))
    put_video(VideoEntry("v", "New", "d"))
    count_view(empty_catalogue, copy, "v")
    assert read_copy(empty_catalogue, "v") == ("Old", "c")
    while sync_catalogue(empty_catalogue, batch=1):
        pass
    assert read_copy(empty_catalogue, "v") == ("New", "d")
    channels = {c: t for channels, _ in read_copies(empty_catalogue).values() for c, (t, _) in channels.items()}
    assert channels == {"c": "New", "d": "Other"}


def test_a_damaged_copy_costs_titles_for_a_while_and_no_count(empty_catalogue, copy, tmp_path):
    videos = [own for own, *_ in find_videos_by_shard(empty_catalogue, per_shard=1).values()]
    put_catalogue(channels=[], videos=[VideoEntry(video_id, f"Title {video_id}") for video_id in videos])
    refresh(copy)
    copy.close()
    (tmp_path / "catalogue.sqlite3").write_bytes(b"rubbish" * 1000)
    count_view(empty_catalogue, copy, videos[0])
    assert read_copy(empty_catalogue, videos[0]) == ("", None)
    refresh(copy)
    count_view(empty_catalogue, copy, videos[1])
    assert read_copy(empty_catalogue, videos[1]) == (f"Title {videos[1]}", None)


def test_a_catalogue_that_was_set_back_fills_the_copy_anew(empty_catalogue, copy):
    put_catalogue(channels=[], videos=[VideoEntry("gone", "Gone"), VideoEntry("kept", "Kept")])
    refresh(copy)
    Video.objects.filter(pk="gone").delete()
    Video.objects.filter(pk="kept").update(revision=1)
    refresh(copy)
    assert [video.video_id for video in copy.find(["gone", "kept"])] == ["kept"]


def test_a_channel_renamed_after_its_videos_comes_with_them(empty_catalogue, copy):
    put_catalogue(channels=[ChannelEntry("c", "Old")], videos=[VideoEntry(f"v{n}", f"{n}", "c") for n in range(5)])
    put_channel(ChannelEntry("c", "New"))
    refresh(copy)
    [video] = copy.find(["v0"])
    assert video.channel is not None
    assert (video.channel.title, Channel.objects.get().title) == ("New", "New")


def test_the_copy_answers_while_the_control_database_is_down(empty_catalogue, copy, servers, tmp_path, caplog):
    put_video(VideoEntry("known", "Known"))
    refresher = Refresher(copy, lock_path=tmp_path / "lock", interval_seconds=0.05, batch=10)
    refresher.start()
    try:
        wait_until(lambda: copy.find(["known"]))
        control = servers.database("control")
        control.kill()
        wait_until(lambda: "cannot refresh the local catalogue" in caplog.text)
        count_view(empty_catalogue, copy, "known")
        assert read_copy(empty_catalogue, "known") == ("Known", None)
        control.start()
        control.wait_ready()
        connections.close_all()  # this test's own did not survive
        put_video(VideoEntry("later", "Later"))
        wait_until(lambda: copy.find(["later"]))
    finally:
        refresher.close(timeout_seconds=SECONDS)


def test_one_process_of_a_host_refreshes_and_another_takes_over(empty_catalogue, copy, tmp_path):
    put_video(VideoEntry("v", "Title"))
    settings = {"lock_path": tmp_path / "lock", "interval_seconds": 0.02, "batch": 10}
    first, second = Refresher(copy, **settings), Refresher(copy, **settings)
    first.start()
    wait_until(lambda: copy.find(["v"]))
    second.start()
    put_video(VideoEntry("w", "Title"))
    wait_until(lambda: copy.find(["w"]))
    assert not second.is_refreshing
    first.close(timeout_seconds=SECONDS)
    wait_until(lambda: second.is_refreshing)
    put_video(VideoEntry("x", "Title"))
    wait_until(lambda: copy.find(["x"]))
    second.close(timeout_seconds=SECONDS)
