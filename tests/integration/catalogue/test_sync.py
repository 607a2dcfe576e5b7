"""The shards end with the state of the catalogue, after interrupted, repeated, late or failed copies."""

import pytest

from runtime.metrics import REGISTRY
from tests.integration.catalogue.state import read_catalogue, read_copies, read_cursors
from tests.integration.queries.rows import await_replicas, find_videos_by_shard
from viewcounter.catalogue import sync
from viewcounter.catalogue.changes import ChannelEntry, VideoEntry, put_catalogue, put_channel, put_video
from viewcounter.catalogue.sync import sync_catalogue
from viewcounter.events.partition import get_partition


def sync_all(cluster, *, batch=1000):
    taken = 0
    while more := sync_catalogue(cluster, batch=batch):
        taken += more
    return taken


def fill(cluster, *, per_shard=5):
    """A channel for each shard, one shared by all, one without videos; returns the videos by shard."""
    videos = find_videos_by_shard(cluster, per_shard=per_shard)
    channels = [ChannelEntry("shared", "Shared"), ChannelEntry("unused", "Unused")]
    channels += [ChannelEntry(f"own{shard_id}", f"Own {shard_id}") for shard_id in videos]
    entries = [
        VideoEntry(video_id, f"Title of {video_id}", ["shared", f"own{shard_id}", None][index % 3])
        for shard_id, own in videos.items()
        for index, video_id in enumerate(own)
    ]
    put_catalogue(channels=channels, videos=entries)
    return videos


def expected_copies(videos):
    """What each shard must hold: its own videos and the channels that they name."""
    channels, all_videos = read_catalogue()
    copies = {}
    for shard_id, own in videos.items():
        own_videos = {v: all_videos[v] for v in own}
        named = {channel_id for _, channel_id, _ in own_videos.values() if channel_id is not None}
        copies[shard_id] = ({c: channels[c] for c in named}, own_videos)
    return copies


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_each_shard_gets_its_own_videos_and_their_channels_whatever_the_batch(empty_catalogue, batch):
    videos = fill(empty_catalogue)
    channels, all_videos = read_catalogue()
    assert sync_all(empty_catalogue, batch=batch) == 2 * (len(channels) + len(all_videos))
    assert read_copies(empty_catalogue) == expected_copies(videos)
    newest = max(revision for *_, revision in all_videos.values())
    assert read_cursors(empty_catalogue) == {shard_id: {newest} for shard_id in videos}


def test_a_second_run_takes_nothing(empty_catalogue):
    fill(empty_catalogue)
    sync_all(empty_catalogue)
    before = read_copies(empty_catalogue)
    assert sync_catalogue(empty_catalogue, batch=1000) == 0
    assert read_copies(empty_catalogue) == before


def test_a_renamed_channel_and_a_moved_video_reach_every_shard(empty_catalogue):
    videos = fill(empty_catalogue)
    sync_all(empty_catalogue)
    put_channel(ChannelEntry("shared", "Renamed"))
    put_channel(ChannelEntry("unused", "Renamed, still unused"))
    first_shard, other_shard = videos
    other = videos[other_shard][0]
    put_video(VideoEntry(other, "Now of the first shard's channel", f"own{first_shard}"))
    assert sync_all(empty_catalogue) == 6
    channels, _ = read_catalogue()
    copies = read_copies(empty_catalogue)
    for shard_id in videos:
        assert copies[shard_id][0]["shared"] == channels["shared"]
        assert copies[shard_id][0][f"own{first_shard}"] == channels[f"own{first_shard}"]
        assert "unused" not in copies[shard_id][0]


def test_a_video_that_was_counted_before_it_was_known_gets_its_title(empty_catalogue):
    (video_id, *_), *_ = find_videos_by_shard(empty_catalogue, per_shard=1).values()
    partition = get_partition(video_id, partition_count=empty_catalogue.topology.partition_count)
    with empty_catalogue.transaction(partition) as connection:
        connection.execute("INSERT INTO video (video_id, partition) VALUES (%s, %s)", (video_id, partition))
    put_video(VideoEntry(video_id, "Known now", None))
    sync_all(empty_catalogue)
    shard = empty_catalogue.topology.get_shard_of(partition)
    assert read_copies(empty_catalogue)[shard.id][1][video_id][:2] == ("Known now", None)


def test_an_older_copy_never_overwrites_a_newer_one(empty_catalogue):
    (video_id, *_), *_ = find_videos_by_shard(empty_catalogue, per_shard=1).values()
    put_video(VideoEntry(video_id, "Old", None))
    old_changes = sync.read_changes(after=0, batch=10)
    partition = get_partition(video_id, partition_count=empty_catalogue.topology.partition_count)
    shard = empty_catalogue.topology.get_shard_of(partition)
    partitions = empty_catalogue.topology.get_partitions_of(shard.id)
    count = empty_catalogue.topology.partition_count
    late = sync.plan_copies(old_changes, partitions=frozenset(partitions), partition_count=count)
    put_video(VideoEntry(video_id, "New", None))
    sync_all(empty_catalogue)
    cursors = read_cursors(empty_catalogue)
    with empty_catalogue.shard_transaction(shard.id) as connection:
        sync.apply_catalogue_changes(connection, late, epochs=dict.fromkeys(partitions, 1))
    assert read_copies(empty_catalogue)[shard.id][1][video_id][0] == "New"
    assert read_cursors(empty_catalogue) == cursors


def test_a_partition_that_arrives_with_an_older_cursor_misses_no_change(empty_catalogue):
    videos = fill(empty_catalogue)
    sync_all(empty_catalogue)
    shard_id, (video_id, *_) = next(iter(videos.items()))
    partition = get_partition(video_id, partition_count=empty_catalogue.topology.partition_count)
    with empty_catalogue.shard_transaction(shard_id) as connection:
        connection.execute("UPDATE catalogue_cursor SET revision = 0 WHERE partition = %s", (partition,))
        connection.execute(
            "UPDATE video SET title = '', channel_id = NULL, revision = 0 WHERE video_id = %s", (video_id,)
        )
    sync_all(empty_catalogue)
    assert read_copies(empty_catalogue) == expected_copies(videos)


def test_a_dead_shard_holds_up_only_itself_and_catches_up(empty_catalogue, servers):
    sync_all(empty_catalogue)
    shard = empty_catalogue.topology.shards[-1]
    primary = servers.database(shard.primary.name)
    primary.kill()
    try:
        videos = fill(empty_catalogue)
        sync_all(empty_catalogue)
        others = {shard_id: own for shard_id, own in videos.items() if shard_id != shard.id}
        alive = {s: c for s, c in read_copies(empty_catalogue).items() if s != shard.id}
        assert alive == expected_copies(others)
    finally:
        primary.start()
        primary.wait_ready()
    await_replicas(empty_catalogue)
    sync_all(empty_catalogue)
    assert read_copies(empty_catalogue) == expected_copies(videos)


def test_the_lag_says_how_many_changes_each_shard_has_not_copied(empty_catalogue):
    fill(empty_catalogue)
    channels, videos = read_catalogue()
    changes = len(channels) + len(videos)
    assert sync_catalogue(empty_catalogue, batch=3) == 6
    assert read_lags(empty_catalogue) == {changes - 3}
    sync_all(empty_catalogue)
    assert read_lags(empty_catalogue) == {0}


def read_lags(cluster):
    return {
        REGISTRY.get_sample_value("viewcounter_catalogue_lag_changes", {"shard": shard.name})
        for shard in cluster.topology.shards
    }
