"""Processes die in the middle of a replay: every acknowledged event is still counted exactly once."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from localcluster import LocalCluster
from tests.system.replays import finish_replay, read_report, start_replay

pytestmark = pytest.mark.system

LONG = ("--scale", "4000", "--duplicates", "0.05")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("kills")) as cluster:
        cluster.start()
        yield cluster


@contextmanager
def replay_being_sent(cluster: LocalCluster) -> Iterator[subprocess.Popen[str]]:
    """A replay that has begun to send. What happens inside must leave it still sending."""
    replay = start_replay(cluster.environment, *LONG)
    try:
        assert replay.stderr is not None
        for line in replay.stderr:
            if line.startswith("Sending events"):
                break
        yield replay
    finally:
        replay.kill()
        replay.wait()


def test_killed_workers_lose_and_double_nothing(cluster):
    worker = cluster.application("worker")
    with replay_being_sent(cluster) as replay:
        killed = [worker.pid, *worker.list_child_pids()]
        worker.kill()
        assert replay.poll() is None
        worker.start()
        worker.wait_ready()
        read_report(finish_replay(replay))
    assert len(killed) == 3
    assert not set(killed) & {worker.pid, *worker.list_child_pids()}


def test_killed_log_server_loses_and_doubles_nothing_acknowledged(cluster):
    log = cluster.valkey("log")
    with replay_being_sent(cluster) as replay:
        killed = log.pid
        log.kill()
        assert replay.poll() is None
        log.start()
        log.wait_ready()
        report = read_report(finish_replay(replay))
    assert log.pid != killed
    assert report["retries"] > 0


def test_killed_gateway_workers_lose_and_double_nothing_acknowledged(cluster):
    web = cluster.application("web")
    with replay_being_sent(cluster) as replay:
        killed = web.list_child_pids()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert replay.poll() is None
        report = read_report(finish_replay(replay))
    assert killed
    assert not set(killed) & set(web.list_child_pids())
    assert report["retries"] > 0
