"""Revisions: every change has one, nothing else does, and they become visible in order."""

import threading

import pytest
from django.db import OperationalError, connections, transaction

from tests.integration.catalogue.state import read_catalogue
from tests.pace import limit
from viewcounter.catalogue.changes import Changed, ChannelEntry, VideoEntry, put_catalogue, put_channel, put_video
from viewcounter.catalogue.errors import UnknownChannels
from viewcounter.catalogue.lookup import read_changes
from viewcounter.catalogue.models import Channel, Video
from viewcounter.config import get_config


def test_putting_the_same_again_changes_nothing(empty_catalogue):
    assert put_channel(ChannelEntry("c1", "One")) == Changed(created=1, updated=0)
    assert put_video(VideoEntry("v1", "Video", "c1")) == Changed(created=1, updated=0)
    before = read_catalogue()
    assert put_channel(ChannelEntry("c1", "One")) == Changed(created=0, updated=0)
    assert put_video(VideoEntry("v1", "Video", "c1")) == Changed(created=0, updated=0)
    assert read_catalogue() == before


def test_every_change_gets_a_revision_above_all_before(empty_catalogue):
    put_channel(ChannelEntry("c1", "One"))
    put_video(VideoEntry("v1", "Video", "c1"))
    first = Video.objects.get(pk="v1").revision
    assert first > Channel.objects.get(pk="c1").revision
    assert put_video(VideoEntry("v1", "Video", None)) == Changed(created=0, updated=1)
    assert put_channel(ChannelEntry("c1", "Renamed")) == Changed(created=0, updated=1)
    assert first < Video.objects.get(pk="v1").revision < Channel.objects.get(pk="c1").revision


def test_an_unknown_channel_changes_nothing_at_all(empty_catalogue):
    with pytest.raises(UnknownChannels) as caught:
        put_catalogue(
            channels=[ChannelEntry("c1", "One")],
            videos=[VideoEntry("v1", "", "c1"), VideoEntry("v2", "", "nobody")],
        )
    assert caught.value.channel_ids == {"nobody"}
    assert read_catalogue() == ({}, {})


def test_an_import_may_bring_the_channels_that_its_videos_name(empty_catalogue):
    changed = put_catalogue(
        channels=[ChannelEntry("c1", "One")],
        videos=[VideoEntry("v1", "Old", "c1"), VideoEntry("v1", "New", "c1"), VideoEntry("v2", "", None)],
    )
    assert changed == Changed(created=3, updated=0)
    assert {v.video_id: (v.title, v.channel_id) for v in Video.objects.all()} == {"v1": ("New", "c1"), "v2": ("", None)}


def test_changes_come_in_the_order_of_their_revisions_in_batches_without_gap(empty_catalogue):
    put_catalogue(channels=[ChannelEntry(f"c{i}", "") for i in range(7)], videos=[])
    put_catalogue(channels=[], videos=[VideoEntry(f"v{i}", "", "c1") for i in range(7)])
    put_channel(ChannelEntry("c3", "Renamed"))
    cursor, seen = 0, []
    while changes := read_changes(after=cursor, batch=4):
        assert len(changes) <= 4
        seen += sorted([c.revision for c in changes.channels] + [v.revision for v in changes.videos])
        assert seen[-1] == changes.revision
        cursor = changes.revision
    channels, videos = read_catalogue()
    assert seen == sorted([*(r for _, r in channels.values()), *(r for *_, r in videos.values())])
    assert len(seen) == 14


def test_a_slow_writer_is_never_overtaken_by_a_later_revision(empty_catalogue):
    """The first transaction has drawn its revision and is still open: no other may commit a higher one before it."""
    is_second_done = threading.Event()

    def put_second():
        try:
            put_channel(ChannelEntry("second", ""))
            is_second_done.set()
        finally:
            connections.close_all()

    second = threading.Thread(target=put_second)
    with transaction.atomic():
        put_channel(ChannelEntry("first", ""))
        second.start()
        assert not is_second_done.wait(0.3)
    second.join(timeout=limit(10))
    assert is_second_done.is_set()
    assert Channel.objects.get(pk="first").revision < Channel.objects.get(pk="second").revision
    assert [c.channel_id for c in read_changes(after=0, batch=10).channels] == ["first", "second"]


def test_a_writer_waits_for_another_only_so_long(empty_catalogue, monkeypatch):
    monkeypatch.setenv("VIEWCOUNTER_CATALOGUE_LOCK_SECONDS", "0.1")
    get_config.cache_clear()
    failures = []

    def put_second():
        try:
            put_channel(ChannelEntry("second", ""))
        except OperationalError as error:
            failures.append(error)
        finally:
            connections.close_all()

    with transaction.atomic():
        put_channel(ChannelEntry("first", ""))
        second = threading.Thread(target=put_second)
        second.start()
        second.join(timeout=limit(10))
    get_config.cache_clear()
    assert len(failures) == 1
    assert list(read_catalogue()[0]) == ["first"]
