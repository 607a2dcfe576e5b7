"""Checks after the last fault: everything must be healthy again without help, and the service must report it."""

import json
from collections.abc import Callable, Collection
from uuid import UUID

import urllib3

from devtools.drill.context import FaultContext
from devtools.drill.load import VIDEOS, LoadClient
from devtools.drill.proof import compare_sums, find_miscounts
from devtools.localcluster.errors import LocalClusterError, NotReady, ProgramFailed

APPLIED_SECONDS = 120.0
PAST = frozenset({"log losses"})
"""Parts that tell for a day what has happened; a fault may have made it happen."""
READY_SECONDS = 60.0
AUDIT_HOURS = 4
"""Events of the load are of the last two hours; one more for a run that crosses an hour, one for a slow clock."""
AUDIT_SECONDS = 120.0
REQUEST_SECONDS = 30.0


class ServiceChecker:
    """Queries the service over HTTP, as an operator would."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._pool = urllib3.PoolManager(retries=False, timeout=REQUEST_SECONDS)

    def find_unready(self) -> str | None:
        """None if `/readyz` reports no degraded part."""
        try:
            answer = self._pool.request("GET", f"{self._url}/readyz")
        except urllib3.exceptions.HTTPError as error:
            return str(error)
        said = json.loads(answer.data)
        wrong = {name: part for name, part in said["parts"].items() if part["status"] != "up" and name not in PAST}
        return f"/readyz: {wrong}" if wrong else None

    def find_wrong_counts(self, load: LoadClient, *, lost: Collection[UUID] = ()) -> list[str]:
        """Compares the counts that readers get with the acknowledged events but those that are reported as lost."""
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
        return compare_sums("read API", load.expect_counts(without=lost), found)


def find_unhealed(
    context: FaultContext, checker: ServiceChecker, *, before_ready: Callable[[], list[str]] = list
) -> list[str]:
    """`before_ready` runs when everything is applied, before the service has to report that it is ready."""
    said = []
    for find_obstacle, what, seconds in (
        (context.find_obstacle_of_any, "the cluster is not healthy again", READY_SECONDS),
        (context.find_lag, "acknowledged events have not been applied", APPLIED_SECONDS),
        (checker.find_unready, "the service does not report that it is ready", READY_SECONDS),
    ):
        if find_obstacle == checker.find_unready:
            said += before_ready()
        try:
            context.await_none(find_obstacle, what=what, seconds=seconds)
        except NotReady as error:
            said.append(str(error))
    return said


def find_uncounted(context: FaultContext, checker: ServiceChecker) -> list[str]:
    """Whether everything acknowledged is applied and read while parts are absent."""
    absent = ", ".join(member.name for member in context.absent)
    try:
        context.await_none(
            context.find_lag,
            what=f"without {absent}: acknowledged events have not been applied",
            seconds=APPLIED_SECONDS,
        )
    except NotReady as error:
        return [str(error)]
    return [f"without {absent}: {wrong}" for wrong in checker.find_wrong_counts(context.load)]


def find_inexact(context: FaultContext, checker: ServiceChecker, *, lost: Collection[UUID] = ()) -> list[str]:
    """Compares raw rows, ids, totals, minutes, ledger, dead letters, the answers to readers, and runs the audit."""
    try:
        return [
            *find_miscounts(context.load, context.read_shards, poison=context.poison, lost=lost),
            *checker.find_wrong_counts(context.load, lost=lost),
            *_find_audit_findings(context),
        ]
    except LocalClusterError as error:
        return [f"the counts cannot be compared: {error}"]


def _find_audit_findings(context: FaultContext) -> list[str]:
    try:
        context.cluster.run_command("audit", "--hours", str(AUDIT_HOURS), within_seconds=AUDIT_SECONDS)
    except ProgramFailed as error:
        return [f"audit: {error}"]
    return []
