"""Invalid events, each of which the service must refuse without refusing the valid ones of its batch."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

Spoiler = Callable[[dict[str, Any]], object]
"""Turns a valid event, a fresh copy, into an invalid item of a batch."""


def create_spoilers(
    *, sent_at: datetime, accept_window_seconds: int, accept_future_seconds: int, sending_seconds: float
) -> dict[str, Spoiler]:
    """Every kind of invalid event by name, invalid from `sent_at` for `sending_seconds`.

    All are valid JSON: broken JSON would rightly refuse its whole batch.
    """
    too_old = sent_at - timedelta(seconds=accept_window_seconds, days=1)
    too_new = sent_at + timedelta(seconds=accept_future_seconds + sending_seconds, hours=1)
    return {
        "not_an_object": lambda event: event["video_id"],
        "null": lambda _: None,
        "event_id_missing": _without("event_id"),
        "event_id_not_a_uuid": _with("event_id", "first-view"),
        "event_id_of_another_time": _with("event_id", "00000000-0001-7000-8000-000000000001"),
        "video_id_missing": _without("video_id"),
        "video_id_empty": _with("video_id", ""),
        "video_id_of_300_characters": _with("video_id", "v" * 300),
        "video_id_with_nul": _with("video_id", "v\x00v"),
        "video_id_with_space": _with("video_id", "two words"),
        "video_id_a_number": _with("video_id", 42),
        "event_type_missing": _without("event_type"),
        "event_type_unknown": _with("event_type", "teleport"),
        "event_type_null": _with("event_type", None),
        "occurred_at_missing": _without("occurred_at"),
        "occurred_at_without_offset": lambda event: event | {"occurred_at": event["occurred_at"].removesuffix("Z")},
        "occurred_at_not_a_time": _with("occurred_at", "yesterday"),
        "occurred_at_too_old": _with("occurred_at", too_old.isoformat()),
        "occurred_at_too_new": _with("occurred_at", too_new.isoformat()),
        "value_nan_as_text": _with("value", "NaN"),
        "value_negative": _with("value", -1),
        "value_past_int64": _with("value", 1e300),
    }


def _with(field: str, value: object) -> Spoiler:
    return lambda event: event | {field: value}


def _without(field: str) -> Spoiler:
    return lambda event: {name: value for name, value in event.items() if name != field}
