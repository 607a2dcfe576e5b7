"""The outcome of each event of a batch, from one response of `POST /v1/events`. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from viewcounter_client.events import PendingEvent

RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
TOO_LARGE = 413
REJECTED_STATUSES = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405, 407, 410, 421, 426})
"""The service, or another server at its address, rejects the request whatever its body is: the address is wrong, or the
API key is wrong, expired, revoked or lacks the scope. The events themselves are valid."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that the service will never accept. `code` is stable, `message` is for people."""

    event_id: str
    body: bytes
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """The service rejects every request of this client until its address or its API key is corrected."""

    status: int
    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}" if self.code else f"{self.status}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`again`: events to send again. `is_failure`: the service failed; counts against the breaker and causes backoff.

    `positions`: by partition, the log position of the accepted events. `is_too_large`: send fewer events at a time.
    `rejection`: the whole request was rejected because of the client's configuration.
    """

    accepted: tuple[PendingEvent, ...] = ()
    refused: tuple[Refusal, ...] = ()
    again: tuple[PendingEvent, ...] = ()
    positions: Mapping[int, str] | None = None
    retry_after_seconds: float | None = None
    is_failure: bool = False
    is_too_large: bool = False
    rejection: Rejection | None = None


def classify_response(batch: Sequence[PendingEvent], *, status: int, body: bytes, retry_after: str | None) -> Verdict:
    """Only retryable events are sent again, never a whole batch with accepted events."""
    if status in RETRYABLE_STATUSES:
        wait = _parse_retry_after(retry_after)
        return Verdict(again=tuple(batch), retry_after_seconds=wait, is_failure=True)
    if status == TOO_LARGE and len(batch) > 1:
        return Verdict(again=tuple(batch), is_too_large=True)
    answer = _parse_object(body)
    if status in (202, 207, 422) and isinstance(answer.get("items"), list):
        return _classify_items(batch, answer)
    if status in REJECTED_STATUSES:
        return Verdict(again=tuple(batch), is_failure=True, rejection=_build_rejection(status, answer))
    if 200 <= status < 300:
        # Another service, or an unknown version: nothing confirms that the events are stored.
        return Verdict(again=tuple(batch), is_failure=True)
    code, detail = str(answer.get("code", status)), str(answer.get("detail", "the service refused the request"))
    return Verdict(refused=tuple(Refusal(e.event_id, e.body, code, detail) for e in batch))


def _build_rejection(status: int, answer: dict[str, Any]) -> Rejection:
    detail = "The address redirects; redirects are not followed, since they would carry the API key elsewhere."
    if status >= 400:
        detail = str(answer.get("detail", "The server does not accept events at this address."))
    return Rejection(status, str(answer.get("code", "")), detail)


def _classify_items(batch: Sequence[PendingEvent], answer: dict[str, Any]) -> Verdict:
    problems = {item["index"]: item for item in answer["items"] if isinstance(item, dict) and "index" in item}
    refused = tuple(
        Refusal(event.event_id, event.body, str(item.get("code", "")), str(item.get("message", "")))
        for place, event in enumerate(batch)
        if (item := problems.get(place)) is not None and not item.get("retryable")
    )
    again = tuple(e for place, e in enumerate(batch) if place in problems and problems[place].get("retryable"))
    positions = answer.get("positions")
    return Verdict(
        accepted=tuple(event for place, event in enumerate(batch) if place not in problems),
        refused=refused,
        again=again,
        positions={int(p): str(at) for p, at in positions.items()} if isinstance(positions, dict) else None,
        is_failure=bool(again),
    )


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _parse_retry_after(value: str | None) -> float | None:
    """Seconds only: viewcounter sends no dates."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None
