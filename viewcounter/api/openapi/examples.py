"""Examples in the OpenAPI document that work when they are sent: a test sends every one of them.

Times are of the hour in which the document is built, as events of another week would be refused.
"""
# ruff: noqa: ARG001 (drf-spectacular gives its hooks more than they need)

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
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
    "resumePartition": {"accept_dead_letters": 0},
}


def add_examples(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook, after the one that adds the ingest endpoint."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    by_name = _OF_EVERY_OPERATION | _OF_PATHS | {"event_id": str(_make_event_id(hour, 1)), "hour": _show(hour)}
    for operation in _list_operations(result):
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in by_name and (parameter.get("required") or parameter["in"] == "path"):
                parameter["example"] = by_name[parameter["name"]]
        body = _BODIES.get(operation["operationId"])
        if body is not None:
            operation["requestBody"]["content"]["application/json"]["example"] = body
    events = result["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    view, watched = _make_view(hour), _make_watch_time(hour)
    events["application/json"]["examples"] = {
        "one": {"summary": "One event", "value": view},
        "batch": {"summary": "A batch", "value": {"events": [view, watched]}},
    }
    return result


def _list_operations(result: Document) -> Iterator[Document]:
    for operations in result["paths"].values():
        yield from operations.values()


def _make_view(hour: datetime) -> Document:
    return {
        "event_id": str(_make_event_id(hour, 1)),
        "video_id": VIDEO_ID,
        "event_type": "view",
        "occurred_at": _show(hour),
        "viewer_id": "account-4711",
    }


def _make_watch_time(hour: datetime) -> Document:
    return {
        "event_id": str(_make_event_id(hour, 2)),
        "video_id": VIDEO_ID,
        "event_type": "watch_time",
        "occurred_at": (hour - timedelta(minutes=5)).isoformat(),
        "value": 12.5,
    }


def _make_event_id(hour: datetime, number: int) -> UUID:
    """A UUIDv7 of that hour, always the same."""
    ms = int(hour.timestamp()) * 1000
    return UUID(int=(ms << 80) | (UUID_VERSION_7 << 76) | (0b10 << 62) | number)


def _show(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
