"""Metrics of a real web process whose workers are killed: sums go on, files do not pile up."""

import json
import os
import signal
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from devtools.localcluster.cluster import LocalCluster
from tests.waiting import wait_until, wait_while
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import Scope

ACCEPTED = "viewcounter_events_accepted_total"


@pytest.fixture
def token(web: LocalCluster, django_db_blocker: Any) -> Iterator[str]:
    with django_db_blocker.unblock():
        key, token = create_key("prometheus", [Scope.ADMIN, Scope.EVENTS_WRITE])
        yield token
        key.delete()


def call(web: LocalCluster, token: str, method: str, path: str, body: Any = None) -> urllib3.BaseHTTPResponse | None:
    """None while no worker listens."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        return urllib3.request(method, web.web_url + path, body=json.dumps(body), headers=headers, retries=False)
    except urllib3.exceptions.HTTPError:
        return None


def post_until_accepted(web: LocalCluster, token: str, count: int) -> None:
    events = [
        {
            "event_id": str(uuid.uuid4()),
            "video_id": "v",
            "event_type": "view",
            "occurred_at": datetime.now(UTC).isoformat(),
        }
        for _ in range(count)
    ]

    def is_accepted() -> bool:
        answer = call(web, token, "POST", "/v1/events", events)
        return answer is not None and answer.status == 202

    wait_until(is_accepted)


def read_accepted(web: LocalCluster, token: str) -> float:
    answer = call(web, token, "GET", "/metrics")
    if answer is None:
        return -1.0
    families = text_string_to_metric_families(answer.data.decode())
    return next((s.value for family in families for s in family.samples if s.name == ACCEPTED), 0.0)


def wait_for_accepted(web: LocalCluster, token: str, expected: float) -> None:
    def find_difference() -> str | None:
        accepted = read_accepted(web, token)
        return None if accepted == expected else f"{accepted} instead of {expected}"

    wait_while(find_difference, what="the sum of accepted events")


def test_what_killed_workers_counted_stays_in_the_sum_and_their_files_go(web: LocalCluster, token: str) -> None:
    application = web.application("web")
    start = read_accepted(web, token)
    for killed in range(3):
        post_until_accepted(web, token, 10)
        wait_for_accepted(web, token, start + 10 * (killed + 1))  # published: a kill loses at most a second
        for pid in application.list_child_pids():
            os.kill(pid, signal.SIGKILL)
    post_until_accepted(web, token, 10)
    wait_for_accepted(web, token, start + 40)
    wait_until(lambda: all(psutil.pid_exists(pid) for pid in list_counting_pids(web)))
    assert set(application.list_child_pids()) <= list_counting_pids(web)
    assert (web.state.root / "metrics" / "counter_0.db").exists()


def list_counting_pids(web: LocalCluster) -> set[int]:
    """Of those that have a file of their own; 0 is the file of all dead ones."""
    return {int(path.stem.removeprefix("counter_")) for path in (web.state.root / "metrics").glob("counter_*.db")} - {0}
