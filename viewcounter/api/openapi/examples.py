"""Examples in the OpenAPI document. Those of requests work when they are sent: a test sends every one of them. Those of
answers fit their schema: a test compares them.

Example events happened in the hour in which the document is built, as events of another week would be refused, and have
ids of their own, so that each reader of the document sends events that nobody has sent before.
"""
# ruff: noqa: ARG001 (drf-spectacular gives its hooks more than they need)

import json
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from viewcounter.events.columns import UUID_VERSION_7

Document = dict[str, Any]

VIDEO_ID = "XpVt6Z1Gjjo"
OTHER_VIDEO_ID = "K4wEI5zhHB0"
CHANNEL_ID = "UCfm4y4rHF5HGrSr-qbvOwOg"

_OF_EVERY_OPERATION: Document = {"video_id": VIDEO_ID, "channel_id": CHANNEL_ID, "event_type": "view", "partition": 0}
_OF_PATHS: Document = {"dead_letter_id": "0-1", "recount_id": "019a8f0e-6c1b-4c3e-9d2a-5a7f6f3f2b10"}
_BODIES: Mapping[str, Any] = {
    "putVideo": {"title": "A cat", "channel_id": CHANNEL_ID},
    "putChannel": {"title": "Cats"},
    "importCatalogue": {
        "channels": [{"channel_id": CHANNEL_ID, "title": "Cats"}],
        "videos": [{"video_id": VIDEO_ID, "title": "A cat", "channel_id": CHANNEL_ID}],
    },
    "queryCounts": {"video_ids": [VIDEO_ID, OTHER_VIDEO_ID]},
    "createRecount": {"video_id": VIDEO_ID, "apply": True},
    "replayDeadLetters": {"reason": "unknown_event_type", "limit": 500},
    "resumePartition": {"accept_dead_letters": 0},
}
_ANSWERS_FILE = Path(__file__).parent / "assets" / "answers.json"
"""Operation -> status -> content type -> body."""


def add_examples(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook, after the one that adds the ingest endpoint.

    Raises KeyError for an answer that no operation gives.
    """
    view, watched = make_events(datetime.now(UTC))
    by_name = _OF_EVERY_OPERATION | _OF_PATHS | {"event_id": view["event_id"], "hour": view["occurred_at"]}
    answers = _load_answers()
    for operation in _list_operations(result):
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in by_name and (parameter.get("required") or parameter["in"] == "path"):
                parameter["example"] = by_name[parameter["name"]]
        body = _BODIES.get(operation["operationId"])
        if body is not None:
            operation["requestBody"]["content"]["application/json"]["example"] = body
        for status, contents in answers.get(operation["operationId"], {}).items():
            for content_type, example in contents.items():
                operation["responses"][status]["content"][content_type]["example"] = example
    events = result["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    events["application/json"]["examples"] = {
        "one": {"summary": "One event", "value": view},
        "batch": {"summary": "A batch", "value": {"events": [view, watched]}},
    }
    return result


def renew_events(content: bytes, document: Document, *, now: datetime) -> bytes:
    """A rendered document with events of this moment in place of those that it was built with."""
    built = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]["examples"]["batch"]
    for old, new in zip(built["value"]["events"], make_events(now), strict=True):
        for name in ("event_id", "occurred_at"):
            content = content.replace(old[name].encode(), new[name].encode())
    return content


def make_events(now: datetime) -> tuple[Document, Document]:
    """A view and a watch time of this hour, with fresh ids."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    view = {
        "event_id": str(_make_event_id(hour)),
        "video_id": VIDEO_ID,
        "event_type": "view",
        "occurred_at": _show(hour),
        "viewer_id": "account-4711",
    }
    watched = {
        "event_id": str(_make_event_id(hour)),
        "video_id": VIDEO_ID,
        "event_type": "watch_time",
        "occurred_at": _show(hour - timedelta(minutes=5)),
        "value": 12.5,
    }
    return view, watched


def _list_operations(result: Document) -> Iterator[Document]:
    for operations in result["paths"].values():
        yield from operations.values()


@cache
def _load_answers() -> Document:
    answers: Document = json.loads(_ANSWERS_FILE.read_bytes())
    return answers


def _make_event_id(hour: datetime) -> UUID:
    """A UUIDv7 of that hour."""
    ms = int(hour.timestamp()) * 1000
    return UUID(int=(ms << 80) | (UUID_VERSION_7 << 76) | (0b10 << 62) | secrets.randbits(62))


def _show(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
