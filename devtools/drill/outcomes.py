"""The outcome of one request as a word: the status of the answer, or why there was none."""

import urllib3

REFUSED = "refused"
"""The connection was refused."""
RESET = "reset"
"""The connection was reset."""
TIMEOUT = "timeout"
PARTIAL = "partial"
"""200, but `meta.partial`: the answer is incomplete."""
STALE = "stale"
"""200, but `meta.stale`: an earlier answer."""

PATIENCE = urllib3.Timeout(connect=5, read=20)
"""Longer than any time limit of the service, also on a busy machine: a slow answer counts as late, not as missing."""

FINE = frozenset({"200", "202"})
NO_ANSWER = frozenset({REFUSED, RESET, TIMEOUT})


def name_error(error: urllib3.exceptions.HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return REFUSED
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return TIMEOUT
    return RESET


def name_read(status: int, meta: dict[str, object]) -> str:
    if status != 200:
        return str(status)
    if meta.get("partial"):
        return PARTIAL
    return STALE if meta.get("stale") else "200"
