"""The catalogue copy of a host: shared, kept by revision, thrown away when damaged."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from viewcounter.catalogue.local_copy import KnownChannel, KnownVideo, LocalCopy

OLD = KnownChannel("c", "Old name", 1)
NEW = KnownChannel("c", "New name", 9)


@pytest.fixture
def copy(tmp_path: Path):
    copy = LocalCopy(tmp_path / "catalogue" / "catalogue.sqlite3")
    yield copy
    copy.close()


def put(copy: LocalCopy, *videos: KnownVideo, channels: tuple[KnownChannel, ...] = (), revision: int) -> None:
    copy.put(channels=channels, videos=videos, revision=revision)


def test_known_videos_are_found_with_their_channel_and_unknown_ones_left_out(copy: LocalCopy):
    one, other = KnownVideo("v1", OLD, "One", 2), KnownVideo("v2", None, 'Two "quoted"', 3)
    put(copy, one, other, revision=3)
    assert sorted(copy.find(["v2", "nobody", "v1"]), key=lambda video: video.video_id) == [one, other]
    assert copy.find([]) == []
    assert copy.get_revision() == 3


def test_the_newer_revision_stays_whatever_comes_later(copy: LocalCopy):
    put(copy, KnownVideo("v", OLD, "New title", 8), revision=8)
    put(copy, channels=(NEW,), revision=9)
    put(copy, KnownVideo("v", OLD, "Old title", 2), channels=(OLD,), revision=2)
    assert copy.find(["v"]) == [KnownVideo("v", NEW, "New title", 8)]
    assert copy.get_revision() == 9


def test_it_survives_its_process_and_is_shared_by_others(copy: LocalCopy):
    code = f"""
from pathlib import Path
from viewcounter.catalogue.local_copy import KnownVideo, LocalCopy
import os
LocalCopy(Path({str(copy.path)!r})).put(channels=[], videos=[KnownVideo("v", None, "Title", 4)], revision=4)
os._exit(9)
"""
    assert copy.get_revision() == 0
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert copy.find(["v"]) == [KnownVideo("v", None, "Title", 4)]
    assert copy.get_revision() == 4


def test_a_damaged_file_knows_nothing_once_and_is_made_anew(copy: LocalCopy, caplog: pytest.LogCaptureFixture):
    put(copy, KnownVideo("v", OLD, "Title", 2), revision=2)
    copy.close()
    copy.path.write_bytes(b"rubbish" * 1000)
    assert copy.find(["v"]) == []
    assert "is damaged; it is deleted and filled again" in caplog.text
    assert copy.get_revision() == 0
    put(copy, KnownVideo("v", OLD, "Title", 2), revision=2)
    assert copy.find(["v"]) == [KnownVideo("v", OLD, "Title", 2)]


def test_damage_within_the_file_is_found_by_whoever_meets_it(copy: LocalCopy):
    put(copy, *(KnownVideo(f"v{n:05}", None, "x" * 200, n) for n in range(2000)), revision=2000)
    copy.close()  # the last connection to close moves the write-ahead log into the file
    with copy.path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 200_000)
    assert copy.find([f"v{n:05}" for n in range(2000)]) == []
    assert copy.get_revision() == 0


def test_every_process_finds_the_file_that_replaced_a_discarded_one(copy: LocalCopy):
    other = LocalCopy(copy.path)
    put(copy, KnownVideo("v", None, "Before", 1), revision=1)
    assert other.find(["v"]) == [KnownVideo("v", None, "Before", 1)]
    copy.discard()
    assert other.find(["v"]) == []
    put(copy, KnownVideo("v", None, "After", 2), revision=2)
    assert other.find(["v"]) == [KnownVideo("v", None, "After", 2)]
    other.close()


def test_a_writer_that_takes_long_makes_readers_neither_wait_nor_fail(copy: LocalCopy):
    put(copy, KnownVideo("v", None, "Title", 1), revision=1)
    with sqlite3.connect(copy.path, isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE video SET title = 'half'")
        assert copy.find(["v"]) == [KnownVideo("v", None, "Title", 1)]
        writer.execute("ROLLBACK")
    writer.close()
