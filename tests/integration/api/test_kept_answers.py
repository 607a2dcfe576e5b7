"""Kept answers as clients meet them: a real web process, real servers, many readers, and servers that die or freeze."""

import asyncio
import json
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta

import pytest
import urllib3

from tests.integration.queries.caching import forget_shared
from tests.integration.queries.rows import DAY, MinuteRow, await_replicas, find_videos_by_shard, store_rows
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import Scope

READERS = 1000
READ_SECONDS = 4.0
PATIENCE_SECONDS = limit(60.0)
FROZEN_SECONDS = 2.5


class Site:
    """The running web process and the videos that it can be asked about: two views each."""

    def __init__(self, servers, cluster, videos, token):
        self.servers = servers
        self.cluster = cluster
        self.videos = videos
        self.token = token
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, timeout=PATIENCE_SECONDS)

    @property
    def every_video(self):
        return [video_id for own in self.videos.values() for video_id in own]

    def get(self, path):
        headers = {"Authorization": f"Bearer {self.token}"}
        return self._pool.request("GET", f"{self.servers.web_url}{path}", headers=headers)

    def get_counts(self, video_id):
        """Views and meta of a 200."""
        answer = self.get(f"/v1/videos/{video_id}/counts")
        assert answer.status == 200, answer.data
        body = answer.json()
        return body["counts"]["view"], body["meta"]

    def read_metric(self, sample):
        text = self.get("/metrics").data.decode()
        found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.M)
        return float(found.group(1)) if found else 0.0


@pytest.fixture(scope="module")
def web(servers):
    application = servers.application("web")
    application.start()
    try:
        application.wait_ready()
        yield servers
    finally:
        application.stop()


@pytest.fixture
def site(web, clean_cluster, django_db_blocker):
    videos = find_videos_by_shard(clean_cluster, per_shard=3)
    rows = [
        MinuteRow(v, 1, DAY + timedelta(minutes=m), (1000,)) for own in videos.values() for v in own for m in (0, 1)
    ]
    store_rows(clean_cluster, rows)
    forget_shared(web)
    with django_db_blocker.unblock():
        get_key_cache().clear()
        _, token = create_key("reader", [Scope.STATS_READ, Scope.ADMIN])
        site = Site(web, clean_cluster, videos, token)
        # What the process still has of the test before is gone when every count is the one stored here.
        wait_until(lambda: [site.get_counts(v)[0] for v in site.every_video] == [2] * len(site.every_video))
        yield site
        ApiKey.objects.all().delete()
        get_key_cache().clear()


@contextmanager
def down(site, shard):
    instances = [site.servers.database(instance.name) for instance in shard.instances]
    for instance in instances:
        instance.kill()
    try:
        yield
    finally:
        for instance in instances:
            instance.start()
        for instance in instances:
            instance.wait_ready()
        await_replicas(site.cluster)


async def read_all_the_time(address, request, *, until):
    """One connection that asks again as soon as it is answered. Bodies by how often they came."""
    host, port = address
    reader, writer = await asyncio.open_connection(host, port)
    bodies = Counter()
    try:
        while time.monotonic() < until:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(re.search(r"content-length: (\d+)", head, re.I).group(1))
            body = await reader.readexactly(length)
            bodies[head.split()[1], json.loads(body)["counts"]["view"]] += 1
    finally:
        writer.close()
    return bodies


def test_a_thousand_readers_of_one_video_cost_its_shard_about_a_query_a_second(site):
    video_id = site.every_video[0]
    host, port = site.servers.web_url.removeprefix("http://").split(":")
    request = f"GET /v1/videos/{video_id}/counts HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {site.token}\r\n\r\n"
    shard_reads = 'viewcounter_cache_reads_total{origin="shard"}'
    before, started_at = site.read_metric(shard_reads), time.monotonic()

    async def read():
        until = time.monotonic() + READ_SECONDS
        readers = [read_all_the_time((host, int(port)), request.encode(), until=until) for _ in range(READERS)]
        return await asyncio.gather(*readers)

    answers = sum(asyncio.run(read()), Counter())
    seconds = time.monotonic() - started_at
    queries = site.read_metric(shard_reads) - before
    assert set(answers) == {("200", 2)}
    assert answers.total() >= READERS
    assert 1 <= queries <= seconds + 1


def test_a_shard_without_any_instance_is_answered_for_by_what_it_said_before(site):
    near, far = (own[0] for own in site.videos.values())
    unknown = find_videos_by_shard(site.cluster, per_shard=1, prefix="unknown")[site.cluster.topology.shards[-1].id][0]
    with down(site, site.cluster.topology.shards[-1]):
        wait_until(lambda: site.get_counts(far)[1]["stale"])
        views, meta = site.get_counts(far)
        assert (views, meta["stale"], meta["partial"]) == (2, True, False)
        assert meta["age_seconds"] > 0
        views, meta = site.get_counts(near)
        assert (views, meta["stale"], "age_seconds" in meta) == (2, False, False)
        assert site.get(f"/v1/videos/{unknown}/counts").status == 503
    wait_until(lambda: site.get_counts(far)[1]["stale"] is False)


def test_a_cache_server_that_freezes_or_dies_changes_no_answer(site):
    broker = site.servers.valkey("broker")
    errors = "viewcounter_shared_cache_errors_total"
    before = site.read_metric(errors)
    with Readers(site, count=4) as readers:
        readers.await_answers(20)
        frozen_at = time.monotonic()
        broker.pause()
        try:
            readers.await_answers(40)
            time.sleep(FROZEN_SECONDS)
            frozen_errors, frozen_seconds = site.read_metric(errors) - before, time.monotonic() - frozen_at
        finally:
            broker.resume()
        readers.await_answers(20)
        broker.kill()
        try:
            readers.await_answers(40)
        finally:
            broker.start()
            broker.wait_ready()
        readers.await_answers(20)
    assert set(readers.answers) == {(200, 2, False)}
    # Each reader may have been asking when it froze; from then on one a second finds out for all.
    assert 1 <= frozen_errors <= len(readers.threads) + frozen_seconds + 1


class Readers:
    """Threads that ask for videos in turn. `answers`: status, views and whether stale."""

    def __init__(self, site, *, count):
        self._site = site
        self._stop = threading.Event()
        self.answers = Counter()
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)

    def await_answers(self, count):
        goal = self.answers.total() + count
        wait_until(lambda: self.answers.total() >= goal)

    def _run(self):
        while not self._stop.is_set():
            for video_id in self._site.every_video:
                answer = self._site.get(f"/v1/videos/{video_id}/counts")
                body = answer.json()
                self.answers[answer.status, body.get("counts", {}).get("view"), body.get("meta", {}).get("stale")] += 1
