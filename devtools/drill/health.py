"""After the last fault: is everything whole again by itself, and does the service say so?"""

import json

import urllib3

from devtools.drill.load import VIDEOS, LoadClient
from devtools.drill.proof import compare_sums, find_miscounts
from devtools.drill.site import FaultContext
from devtools.localcluster.errors import LocalClusterError, NotReady, ProgramFailed

APPLIED_SECONDS = 120.0
READY_SECONDS = 60.0
AUDIT_HOURS = 4
"""Events of the load happened within the last two; one more for a run that crosses an hour, one for a late clock."""
AUDIT_SECONDS = 120.0
REQUEST_SECONDS = 30.0


class Questions:
    """The service as an operator asks it."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._pool = urllib3.PoolManager(retries=False, timeout=REQUEST_SECONDS)

    def find_unready(self) -> str | None:
        """None when `/readyz` says that no part is degraded."""
        try:
            answer = self._pool.request("GET", f"{self._url}/readyz")
        except urllib3.exceptions.HTTPError as error:
            return str(error)
        said = json.loads(answer.data)
        if said["status"] == "ready":
            return None
        return f"/readyz: { {name: part for name, part in said['parts'].items() if part['status'] != 'up'} }"

    def find_wrong_counts(self, load: LoadClient) -> list[str]:
        """What readers get, held against what was acknowledged."""
        body = json.dumps({"video_ids": VIDEOS})
        path = "/v1/counts/query?consistency=strong"
        try:
            answer = self._pool.request("POST", self._url + path, body=body, headers=self._headers)
        except urllib3.exceptions.HTTPError as error:
            return [f"{path}: {error}"]
        if answer.status != 200:
            return [f"{path} answers {answer.status}: {answer.data[:300].decode(errors='replace')}"]
        said = json.loads(answer.data)
        if said["meta"]["partial"]:
            return [f"{path}: {said['meta']}"]
        found = {
            (video["video_id"], event_type): count
            for video in said["videos"]
            for event_type, count in video["counts"].items()
        }
        return compare_sums("read API", load.expect_counts(), found)


def find_unhealed(site: FaultContext, questions: Questions) -> list[str]:
    said = []
    for find_obstacle, what, seconds in (
        (site.find_obstacle_of_any, "the cluster is not whole again", READY_SECONDS),
        (site.find_lag, "what was acknowledged has not been applied", APPLIED_SECONDS),
        (questions.find_unready, "the service does not call itself ready", READY_SECONDS),
    ):
        try:
            site.await_none(find_obstacle, what=what, seconds=seconds)
        except NotReady as error:
            said.append(str(error))
    return said


def find_inexact(site: FaultContext, questions: Questions) -> list[str]:
    """Raw rows, ids, totals, minutes, ledger, dead letters; then what readers get; then the service's own audit."""
    try:
        return [
            *find_miscounts(site.load, site.read_shards, poison=site.poison),
            *questions.find_wrong_counts(site.load),
            *_find_audit_findings(site),
        ]
    except LocalClusterError as error:
        return [f"the counts cannot be compared: {error}"]


def _find_audit_findings(site: FaultContext) -> list[str]:
    try:
        site.cluster.run_command("audit", "--hours", str(AUDIT_HOURS), within_seconds=AUDIT_SECONDS)
    except ProgramFailed as error:
        return [f"audit: {error}"]
    return []
