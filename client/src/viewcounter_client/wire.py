"""The HTTP requests of both clients, and the meaning of the responses."""

import gzip
import json
from collections.abc import Sequence
from typing import Any

import httpx2

from viewcounter_client.errors import EventsLost, LostRange, RequestRefused, ServiceUnavailable
from viewcounter_client.events import PendingEvent
from viewcounter_client.options import Options
from viewcounter_client.queries import Answer, Query
from viewcounter_client.verdict import RETRYABLE_STATUSES, Verdict, classify_response
from viewcounter_client.version import VERSION

EVENTS_PATH = "/v1/events"
LOST_STATUS = 410
_GZIP_FROM_BYTES = 1400
"""About what fits one packet."""


def build_settings(base_url: str, api_key: str, options: Options) -> dict[str, Any]:
    """Arguments of an httpx2 client. Redirects are not followed: they would carry the key elsewhere."""
    return {
        "base_url": base_url,
        "headers": {**build_authorization(api_key), "User-Agent": f"viewcounter-client/{VERSION}"},
        "timeout": httpx2.Timeout(options.request_timeout_seconds, connect=options.connect_timeout_seconds),
    }


def build_authorization(api_key: str) -> dict[str, str]:
    """Raises ValueError: the key cannot be sent in a header."""
    if not api_key.isascii() or not api_key.isprintable() or not api_key.strip():
        raise ValueError("api_key: must be the text that create_api_key printed, without line breaks")
    return {"Authorization": f"Bearer {api_key.strip()}"}


def encode_batch(events: Sequence[PendingEvent]) -> tuple[bytes, dict[str, str]]:
    """Body and headers."""
    body = b"[" + b",".join(event.body for event in events) + b"]"
    headers = {"Content-Type": "application/json"}
    if len(body) >= _GZIP_FROM_BYTES:
        body = gzip.compress(body, compresslevel=1)
        headers["Content-Encoding"] = "gzip"
    return body, headers


def classify(events: Sequence[PendingEvent], response: httpx2.Response) -> Verdict:
    return classify_response(
        events, status=response.status_code, body=response.content, retry_after=response.headers.get("retry-after")
    )


def is_worth_retrying(response: httpx2.Response) -> bool:
    return response.status_code in RETRYABLE_STATUSES


def parse_answer(query: Query[Answer], response: httpx2.Response) -> Answer:
    """Raises RequestRefused, EventsLost, or ServiceUnavailable for a response of another service."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.status_code != 200:
        raise _build_refusal(response.status_code, body if isinstance(body, dict) else {})
    try:
        return query.parse(body)
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceUnavailable(f"not an answer of viewcounter: {error!r}") from error


def _build_refusal(status: int, problem: dict[str, Any]) -> RequestRefused:
    faults = [fault for fault in problem.get("errors", ()) if isinstance(fault, dict)]
    refusal: dict[str, Any] = {
        "status": status,
        "code": str(problem.get("code", "")),
        "detail": str(problem.get("detail", "")),
        "reasons": tuple(f"{fault.get('field', '')}: {fault.get('message', '')}" for fault in faults),
        "request_id": str(problem.get("request_id", "")),
    }
    lost = _parse_lost(problem) if status == LOST_STATUS else ()
    return EventsLost(lost=lost, **refusal) if lost else RequestRefused(**refusal)


def _parse_lost(problem: dict[str, Any]) -> tuple[LostRange, ...]:
    try:
        return tuple(LostRange(int(one["partition"]), one["after"], one["through"]) for one in problem.get("lost", ()))
    except (KeyError, TypeError, ValueError):
        return ()


def encode_query(query: Query[Any]) -> dict[str, Any]:
    """Arguments of a request besides method and path."""
    arguments: dict[str, Any] = {"params": dict(query.parameters)}
    if query.body is not None:
        arguments["content"] = json.dumps(query.body)
        arguments["headers"] = {"Content-Type": "application/json"}
    return arguments
