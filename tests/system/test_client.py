"""The client library against the real service: kills and outages cost its events nothing and its callers no time.

The long form tracks 100,000 events around an outage of 30 s, and prints its figures:

    bin/test --long tests/system/test_client.py -s
"""

import asyncio
import re
import resource
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from viewcounter_client import AsyncClient, Client, EventsLost, Options, RequestRefused, ServiceUnavailable, queries

from devtools.localcluster import LocalCluster
from tests.pace import limit
from tests.waiting import wait_until, wait_while
from viewcounter.config.project import PROJECT_ROOT

pytestmark = pytest.mark.system

PAUSE_EVENTS = 2000
SETTLE_SECONDS = limit(60.0)
MEBIBYTE = 1024 * 1024
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def cluster(shared_cluster: LocalCluster) -> LocalCluster:
    return shared_cluster


@pytest.fixture(scope="module")
def key(cluster: LocalCluster):
    return cluster.run_command("create_api_key", "client", "--scopes", "events:write,stats:read", "--quiet").strip()


def await_counts(client, video_id, expected):
    def differ():
        found = client.query(queries.counts(video_id)).videos[0].counts["view"]
        return None if found == expected else f"{found} of {expected} counted"

    wait_while(differ, what=f"{expected} views of {video_id}")


@pytest.mark.parametrize(
    ("tracked", "outage_seconds", "pause_seconds"),
    [(40_000, 3.0, 0.05), pytest.param(100_000, 30.0, 1.0, marks=pytest.mark.long(minutes=2))],
)
def test_events_tracked_through_a_killed_service_count_once(
    cluster, key, tmp_path, *, tracked, outage_seconds, pause_seconds
):
    video_id = f"through-a-kill-{tracked}"
    # Room for those that come while a busy machine does not let the sending thread run; the others go to the spool.
    options = Options(max_buffer_events=30_000, spool_directory=tmp_path / "spool", breaker_open_seconds=0.5)
    waits = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Client(cluster.web_url, key, options) as client:
        for number in range(tracked):
            if number == tracked // 10:
                cluster.application("web").kill()
                down_at = time.monotonic()
            started_at = time.perf_counter()
            client.track("view", video_id=video_id)
            waits.append(time.perf_counter() - started_at)
            if number % PAUSE_EVENTS == 0:
                time.sleep(pause_seconds)  # leaves the sending thread its share, as an application does
        taken = client.counters  # no answer has come since the kill
        assert (taken.tracked, taken.dropped, taken.refused) == (tracked, 0, 0)
        assert taken.accepted <= tracked // 10
        time.sleep(max(0.0, down_at + outage_seconds - time.monotonic()))
        cluster.application("web").start()
        cluster.application("web").wait_ready()
        assert client.flush(SETTLE_SECONDS)
        counters = client.counters
        assert (counters.tracked, counters.accepted, counters.dropped, counters.refused) == (tracked, tracked, 0, 0)
        assert counters.is_balanced
        await_counts(client, video_id, tracked)
    waits.sort()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    waited = f"track() p50 {waits[tracked // 2] * 1e6:.0f} us, p99.9 {waits[-tracked // 1000] * 1e6:.0f} us"
    print(f"{waited}, longest {waits[-1] * 1e3:.1f} ms; grown by {grown / MEBIBYTE:.1f} MiB; {counters}")  # noqa: T201
    assert grown < 64 * MEBIBYTE


def test_track_does_not_wait_for_the_answer_to_a_request():
    options = Options(linger_seconds=0.001, close_seconds=0.001)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", "vc_nobody_nothing", options)
        client.track("view", video_id="unanswered")
        wait_until(lambda: client.counters.in_flight == 1, what="the first request")
        for _ in range(1000):
            client.track("view", video_id="unanswered")
        assert (client.counters.in_flight, client.counters.pending) == (1, 1000)
    client.close()
    assert (client.counters.dropped, client.counters.is_balanced) == (1001, True)


def test_a_client_that_dies_leaves_its_spool_to_the_next_one(cluster, key, tmp_path):
    options = Options(spool_directory=tmp_path, breaker_failures=1, linger_seconds=0.01, close_seconds=1.0)
    cluster.application("web").kill()
    with Client(cluster.web_url, key, options) as client:
        for number in range(700):
            client.track("view", video_id="left-behind", viewer_id=f"ada-{number % 50}@example.com")
    assert (client.counters.spooled, client.counters.dropped) == (700, 0)
    cluster.application("web").start()
    cluster.application("web").wait_ready()
    with Client(cluster.web_url, key, options) as client:
        assert client.counters.recovered == 700
        assert client.flush(SETTLE_SECONDS)
        await_counts(client, "left-behind", 700)
        period = {"start_time": datetime.now(UTC) - timedelta(hours=1), "end_time": datetime.now(UTC) + MINUTE}
        question = queries.stats(video_id="left-behind", function="unique_viewers", **period)
        wait_until(lambda: client.query(question).value == 50, what="the 50 viewers")


def test_only_bad_events_are_refused_and_the_application_hears_why(cluster, key):
    refusals = []
    with Client(cluster.web_url, key, on_refused=refusals.append) as client:
        client.track("view", video_id="mixed")
        old = client.track("view", video_id="mixed", occurred_at=datetime.now(UTC) - timedelta(days=30))
        unknown = client.track("applause", video_id="mixed")
        assert client.flush()
        assert (client.counters.accepted, client.counters.refused) == (1, 2)
        await_counts(client, "mixed", 1)
    assert [(r.event_id, r.code) for r in refusals] == [(old, "too_old"), (unknown, "unknown_event_type")]


def test_events_sent_with_a_wrong_key_wait_for_the_right_one(cluster, key, caplog):
    with Client(cluster.web_url, "vc_nobody_nothing") as client:
        client.track("view", video_id="wrong-key")
        wait_until(lambda: client.rejection, what="the first answer")
        assert not client.flush(timeout_seconds=0.1)
        assert (client.counters.pending, client.counters.refused) == (1, 0)
        assert (client.rejection.status, client.rejection.code) == (401, "invalid_key")
        wait_until(lambda: "rejects all requests of this client (401 invalid_key" in caplog.text)
        with pytest.raises(RequestRefused) as caught:
            client.query(queries.counts("wrong-key"))
        assert (caught.value.status, caught.value.code) == (401, "invalid_key")
        client.set_api_key(key)
        answer = wait_until(lambda: ask_after_flush(client, "wrong-key"), what="the event to be counted")
    assert (answer.videos[0].counts["view"], client.counters.accepted, client.rejection) == (1, 1, None)


def test_events_of_a_rejected_client_stay_in_its_spool(cluster, key, tmp_path):
    options = Options(spool_directory=tmp_path)
    with Client(f"{cluster.web_url}/elsewhere", key, options) as client:
        client.track("view", video_id="wrong-address")
        wait_until(lambda: client.rejection, what="the first answer")
    assert (client.counters.spooled, client.rejection.status) == (1, 404)
    with Client(cluster.web_url, key, options) as client:
        answer = wait_until(lambda: ask_after_flush(client, "wrong-address"), what="the event to be counted")
    assert answer.videos[0].counts["view"] == 1


def ask_after_flush(client, video_id):
    """None while the service is slower than a question waits."""
    try:
        return client.query(queries.counts(video_id), after_flush=True)
    except ServiceUnavailable:
        return None


def test_the_first_example_of_the_manual_prints_what_it_sent(cluster, key, capsys):
    # The first count of a new cluster may take longer than a question waits.
    with Client(cluster.web_url, key) as client:
        client.track("view", video_id="before-the-manual")
        wait_until(lambda: ask_after_flush(client, "before-the-manual"), what="the first count")
    manual = (PROJECT_ROOT / "client" / "README.md").read_text()
    example = re.search(r"```python\n(.+?)```", manual, re.DOTALL)[1]
    exec(example.replace("https://counter.example", cluster.web_url), {"api_key": key})  # noqa: S102 - our own manual
    assert capsys.readouterr().out.startswith("1 complete until ")


def test_every_question_is_answered(cluster, key):
    at = datetime.now(UTC) - timedelta(hours=2)
    with Client(cluster.web_url, key) as client:
        for seconds in (10.5, 20.25):
            client.track("watch_time", video_id="asked", occurred_at=at, value=seconds)
        assert client.flush()
        hour = {"start_time": at - timedelta(hours=1), "end_time": at + timedelta(hours=1)}
        question = queries.stats(video_id="asked", event_type="watch_time", function="sum", interval="hour", **hour)
        wait_until(lambda: client.query(question).value == 30.75, what="the sum")
        assert [bucket.value for bucket in client.query(question).series if bucket.value] == [30.75]
        top = client.query(queries.top(event_type="watch_time", function="sum", limit=1))
        assert [(item.video_id, item.value) for item in top.items] == [("asked", 30.75)]
        assert not top.meta.partial
        with pytest.raises(RequestRefused, match="function"):
            client.query(queries.stats(video_id="asked", function="median"))


def test_questions_to_a_service_that_is_down_fail(key):
    options = Options(backoff_max_seconds=0.05, connect_timeout_seconds=0.5)
    with Client("http://127.0.0.1:9", key, options) as client:
        for _ in range(3):
            with pytest.raises(ServiceUnavailable):
                client.query(queries.counts("v"))


def test_the_client_of_an_event_loop_does_the_same(cluster, key):
    async def run():
        async with AsyncClient(cluster.web_url, key, Options(linger_seconds=0.01)) as client:
            for number in range(2500):
                client.track("view", video_id="async")
                if number % 500 == 0:
                    await asyncio.sleep(0)
            assert await client.flush(SETTLE_SECONDS)
            assert (client.counters.accepted, client.counters.is_balanced) == (2500, True)
            deadline = time.monotonic() + SETTLE_SECONDS
            while (await client.query(queries.counts("async"))).videos[0].counts["view"] != 2500:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        assert client.counters.dropped == 0

    asyncio.run(run())


@contextmanager
def lost_entries(cluster, position, partition):
    """As if the reader of the log had found that entries up to this position are lost; salvaged at the end."""
    primaries = [cluster.database(name) for name in ("shard1a", "shard2a")]
    try:
        for primary in primaries:
            with primary.session() as connection:
                connection.execute(
                    "INSERT INTO log_loss (partition, after_position, through_position, reason)"
                    " SELECT partition, '0-0', %s, 'missing' FROM partition_state WHERE partition = %s",
                    [position, partition],
                )
        yield
    finally:
        for primary in primaries:
            with primary.session() as connection:
                connection.execute("UPDATE log_loss SET outcome = 'salvaged', closed_at = now()")


def test_lost_events_are_sent_again_before_a_question_about_them_is_answered(cluster, key):
    with Client(cluster.web_url, key) as client:
        client.track("view", video_id="lost-and-found")
        assert client.flush(SETTLE_SECONDS)
        [(partition, position)] = client.positions.items()
        with lost_entries(cluster, position, partition):
            answer = client.query(queries.counts("lost-and-found"), after_flush=True)
        assert answer.videos[0].counts["view"] == 1
        assert (client.counters.accepted, client.counters.retried) == (1, 1)
        [(_, later)] = client.positions.items()
        assert later != position
        client.track("view", video_id="lost-and-found")
        with lost_entries(cluster, "9000000000000000-0", partition), pytest.raises(EventsLost):
            client.query(queries.counts("lost-and-found"), after_flush=True)
