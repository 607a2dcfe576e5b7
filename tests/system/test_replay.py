"""The replay against a whole cluster: every count exact, and after a repetition as well."""

import json
import os
import sys
from typing import Any

import pytest

from devtools.localcluster import LocalCluster
from devtools.replay.dataset import read_dataset
from tests.processes import run

pytestmark = pytest.mark.system

REPLAY_SECONDS = 120
REDUCED = ("--limit-days", "3", "--scale", "50000", "--invalid", "0.02", "--duplicates", "0.1")
SENT = 6852


@pytest.fixture(scope="module")
def cluster(shared_cluster: LocalCluster) -> LocalCluster:
    return shared_cluster


def run_replay(environment: dict[str, str], *arguments: str):
    command = [sys.executable, "manage.py", "replay", "--json", *arguments]
    return run(command, environment=environment, within_seconds=REPLAY_SECONDS)


def read_report(result) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr + result.stdout
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["exact"] is True
    assert (report["wrong_count"], report["wrongly_refused"], report["wrongly_accepted"]) == (0, [], [])
    return report


@pytest.fixture(scope="module")
def first_report(cluster: LocalCluster) -> dict[str, Any]:
    return read_report(run_replay(cluster.environment, *REDUCED))


def test_every_count_of_a_replay_is_exact(first_report):
    assert first_report["sent"] == SENT
    assert first_report["duplicates_sent"] == first_report["duplicates_dropped"] == SENT // 10
    assert first_report["accepted"] == SENT + SENT // 10
    assert first_report["refused_count"] == first_report["expected_refused_count"] == SENT // 50


def test_top_videos_have_their_titles(first_report):
    values = [video["value"] for video in first_report["top"]]
    assert len(values) == 10
    assert values == sorted(values, reverse=True)
    titles = {video.video_id: video.title for video in read_dataset().limit_days(3).videos()}
    replayed = [video for video in first_report["top"] if video["video_id"] in titles]  # others post to the cluster too
    assert replayed
    assert [video["title"] for video in replayed] == [titles[video["video_id"]] for video in replayed]


def test_a_repeated_replay_counts_nothing_again(cluster, first_report):
    """In compressed bodies, by two threads."""
    arguments = ("--gzip", "--threads", "2", "--nonce", first_report["nonce"])
    report = read_report(run_replay(cluster.environment, *REDUCED, *arguments))
    assert report["sent"] == SENT
    assert report["duplicates_dropped"] == report["accepted"] == SENT + SENT // 10


def test_a_wrong_key_ends_the_replay_with_a_message(cluster):
    result = run_replay(cluster.environment, *REDUCED, "--key", "vc_000000000000_" + "x" * 43)
    assert result.returncode == 1
    assert "ServiceRefused" in result.stderr
    assert "401" in result.stderr


def test_without_a_cluster_the_replay_says_how_to_start_one():
    result = run_replay(dict(os.environ), *REDUCED, "--url", "http://127.0.0.1:1", "--key", "k")
    assert result.returncode == 1
    assert "bin/up" in result.stderr
