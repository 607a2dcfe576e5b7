"""Log lines of a web process: gunicorn's, uvicorn's, Django's and ours have one shape, with the id of the request."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from devtools.localcluster.applications import Web
from devtools.localcluster.cluster import LocalCluster
from devtools.localcluster.web_beside import run_web_beside
from tests.pace import limit
from tests.waiting import wait_until

NAME = "web-json"


@pytest.fixture
def json_web(web: LocalCluster) -> Iterator[Web]:
    settings = {"log_format": "json", "access_log": "failed", "log_level": "INFO"}
    with run_web_beside(web, NAME, ready_seconds=limit(60.0), **settings) as beside:
        yield beside


def read_lines(cluster: LocalCluster) -> list[dict[str, Any]]:
    """Raises ValueError for a line that is not JSON."""
    return [json.loads(line) for line in cluster.state.get_log_path(NAME).read_text().splitlines()]


@pytest.mark.long(minutes=0.3)
def test_every_line_is_json_and_an_answer_s_id_is_in_the_lines_of_its_request(
    web: LocalCluster, json_web: Web, write_token: str
) -> None:
    headers = {"Authorization": f"Bearer {write_token}", "Content-Type": "application/json"}
    refused = urllib3.request("POST", f"{json_web.url}/v1/events", body=b"{", headers=headers, retries=False)
    unknown = urllib3.request("GET", f"{json_web.url}/nowhere", retries=False)
    wrong_host = urllib3.request("GET", f"{json_web.url}/v1/top", headers={"Host": "other.example"}, retries=False)
    assert (refused.status, unknown.status, wrong_host.status) == (400, 404, 400)

    def find_requests() -> dict[str, dict[str, Any]]:
        return {line["request_id"]: line for line in read_lines(web) if line["logger"] == "viewcounter.access"}

    answered = [response.headers["x-request-id"] for response in (refused, unknown, wrong_host)]
    wait_until(lambda: set(answered) <= set(find_requests()))
    line = find_requests()[answered[0]]
    shown = {name: line[name] for name in ("level", "method", "path", "status", "key_prefix")}
    prefix = write_token.split("_")[1]
    assert shown == {"level": "INFO", "method": "POST", "path": "/v1/events", "status": 400, "key_prefix": prefix}
    lines = read_lines(web)
    assert {"gunicorn.error", "viewcounter.access"} <= {line["logger"] for line in lines}
    assert [line for line in lines if line["level"] in {"WARNING", "ERROR"} and line.get("request_id")] == []
