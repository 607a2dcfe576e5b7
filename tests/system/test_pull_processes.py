"""Pull processes of a running cluster: what counting needs, and what it does when some of it is missing."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import msgspec
import psutil
import psycopg
import pytest
import urllib3

from devtools.localcluster import LocalCluster
from devtools.localcluster.member import Member
from devtools.localcluster.spec import BROKER_SERVER
from tests.pace import limit
from tests.system.exactness import read_shards
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster
from viewcounter.eventlog.interface import Position
from viewcounter.events.partition import get_partition

pytestmark = pytest.mark.system

OWNER = re.compile(r"[^:]*:(\d+):")
"""Host, process id, and what makes it unique."""


class Client:
    """Posts one event of each of its videos at a time, one video in each partition. `posted` counts the 202s."""

    def __init__(self, cluster: LocalCluster, key: str) -> None:
        self._url = cluster.web_url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._pool = urllib3.PoolManager(retries=False, timeout=limit(10.0))
        self.videos = _list_videos()
        self.posted: Counter[str] = Counter()

    def post(self) -> dict[int, Position]:
        """The positions of the events, by partition."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        events = [
            {"event_id": str(uuid4()), "video_id": video, "event_type": "view", "occurred_at": now}
            for video in self.videos.values()
        ]
        answer = self._request("POST", "/v1/events", 202, body=msgspec.json.encode(events))
        self.posted.update(self.videos.values())
        return {int(partition): Position.parse(text) for partition, text in answer["positions"].items()}

    def read_counts(self) -> dict[str, int]:
        """What readers of the API get."""
        body = msgspec.json.encode({"video_ids": list(self.videos.values())})
        answer = self._request("POST", "/v1/counts/query?consistency=strong", 200, body=body)
        return {video["video_id"]: video["counts"].get("view", 0) for video in answer["videos"]}

    def _request(self, method: str, path: str, status: int, *, body: bytes) -> dict:
        answer = self._pool.request(method, self._url + path, body=body, headers=self._headers)
        assert answer.status == status, answer.data
        return msgspec.json.decode(answer.data)


def _list_videos() -> dict[int, str]:
    videos: dict[int, str] = {}
    partition_count, number = get_cluster().topology.partition_count, 0
    while len(videos) < partition_count:
        video = f"pulled-{number}"
        videos.setdefault(get_partition(video, partition_count=partition_count), video)
        number += 1
    return videos


@pytest.fixture(scope="module")
def client(shared_cluster: LocalCluster) -> Client:
    scopes = ("--scopes", "events:write,stats:read", "--quiet")
    return Client(shared_cluster, shared_cluster.run_command("create_api_key", "pulled", *scopes).strip())


def read_owners() -> dict[int, str | None]:
    return {row["partition"]: row["owner"] for row in read_shards("SELECT partition, owner FROM partition_state")}


def has_reached(positions: dict[int, Position]) -> bool:
    rows = read_shards("SELECT partition, position FROM partition_state WHERE state = 'owned'")
    reached = {row["partition"]: Position.parse(row["position"]) for row in rows}
    return all(reached[partition] >= position for partition, position in positions.items())


def await_counted(client: Client, positions: dict[int, Position]) -> None:
    """Every event posted so far, exactly once."""
    wait_until(lambda: has_reached(positions), what="all events to be applied")
    rows = read_shards("SELECT video_id, count FROM event_total WHERE video_id LIKE 'pulled-%'")
    assert {row["video_id"]: row["count"] for row in rows} == client.posted


def await_owners(*, without: int | None = None) -> set[int]:
    """Process ids of the owners, once every partition has a living one, which is not `without`."""

    def find() -> set[int]:
        owners = read_owners().values()
        pids = {int(match[1]) for owner in owners if owner and (match := OWNER.match(owner))}
        is_whole = all(owners) and without not in pids and all(psutil.pid_exists(pid) for pid in pids)
        return pids if is_whole else set()

    return wait_until(find, what="an owner of every partition")


@contextmanager
def killed(*members: Member) -> Iterator[None]:
    for member in members:
        member.kill()
    try:
        yield
    finally:
        for member in members:
            member.start()
        for member in members:
            member.wait_ready()


def test_events_are_counted_and_read_without_broker_cache_and_beat(shared_cluster, client):
    beats = [shared_cluster.application(name) for name in shared_cluster.spec.beat_names]
    with killed(*beats, shared_cluster.server(BROKER_SERVER)):
        await_counted(client, client.post())
        await_counted(client, client.post())
        assert client.read_counts() == client.posted


def test_a_locked_state_row_holds_up_its_own_partition_only(shared_cluster, client):
    await_counted(client, client.post())
    held, *others = sorted(client.videos)
    shard = get_cluster().topology.get_shard_of(held)
    assert set(get_cluster().topology.get_partitions_of(shard.id)) & set(others)
    with connect(shared_cluster, shard.primary.name) as connection:
        before = lock_row(connection, held)
        for _ in range(5):
            positions = client.post()
            awaited = {partition: positions[partition] for partition in others}
            wait_until(lambda awaited=awaited: has_reached(awaited), what="the other partitions to be applied")
        assert read_position(held) == before
    await_counted(client, positions)


@contextmanager
def connect(cluster: LocalCluster, instance: str) -> Iterator[psycopg.Connection]:
    """As a program that the session reaper spares."""
    with cluster.database(instance).connect() as connection:
        connection.execute("SET application_name = 'pg_restore'")
        yield connection


def lock_row(connection: psycopg.Connection, partition: int) -> str:
    """Until the connection is closed. The position in that row."""
    connection.execute("BEGIN")
    [(position,)] = connection.execute(
        "SELECT position FROM partition_state WHERE partition = %s FOR UPDATE", [partition]
    ).fetchall()
    return position


def read_position(partition: int) -> str:
    rows = read_shards("SELECT partition, position FROM partition_state WHERE state = 'owned'")
    return next(row["position"] for row in rows if row["partition"] == partition)


def test_partitions_of_a_killed_pull_process_are_taken_over(client):
    victim = min(await_owners())
    os.kill(victim, signal.SIGKILL)
    positions = client.post()
    await_owners(without=victim)
    await_counted(client, positions)


def test_a_pull_process_that_wakes_after_its_takeover_counts_nothing_twice(client):
    zombie = min(await_owners())
    os.kill(zombie, signal.SIGSTOP)
    try:
        await_owners(without=zombie)
        await_counted(client, client.post())
    finally:
        os.kill(zombie, signal.SIGCONT)
    for _ in range(3):
        await_counted(client, client.post())
