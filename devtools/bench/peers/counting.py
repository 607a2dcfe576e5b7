"""Three ways to count, each in a transaction that is committed before the answer."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import F

from devtools.bench.peers.models import CheckedEvent, RawEvent, VideoCount

Event = Mapping[str, Any]
"""Validated data of an EventSerializer."""

ATTEMPTS = 3

_ADD_COUNTS = """
    INSERT INTO peers_videocount AS t (video_id, event_type, count, value_sum)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::float8[])
    ON CONFLICT (video_id, event_type)
    DO UPDATE SET count = t.count + excluded.count, value_sum = t.value_sum + excluded.value_sum
"""


def count_one(event: Event) -> None:
    """Counts repetitions again."""
    counter = VideoCount.objects.filter(video_id=event["video_id"], event_type=event["event_type"])
    change = {"count": F("count") + 1, "value_sum": F("value_sum") + event["value"]}
    if counter.update(**change):
        return
    VideoCount.objects.get_or_create(video_id=event["video_id"], event_type=event["event_type"])
    counter.update(**change)


def count_many(events: Sequence[Event]) -> None:
    """Raw rows, and counters by one statement. Counts repetitions again."""
    with transaction.atomic():
        RawEvent.objects.bulk_create([RawEvent(**event) for event in events])
        _add_counts(events)


def count_many_once(events: Sequence[Event]) -> None:
    """Like `count_many`, for events that are not among the raw rows. If another request stores one of them meanwhile,
    the primary key refuses the transaction, and it is repeated."""
    by_id = {event["event_id"]: event for event in events}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                known = set(CheckedEvent.objects.filter(event_id__in=by_id).values_list("event_id", flat=True))
                new = [event for event_id, event in by_id.items() if event_id not in known]
                CheckedEvent.objects.bulk_create([CheckedEvent(**event) for event in new])
                _add_counts(new)
            return
        except (IntegrityError, OperationalError):
            if attempt == ATTEMPTS:
                raise


def _add_counts(events: Iterable[Event]) -> None:
    """In the order of the keys, so that two transactions cannot deadlock."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for event in events:
        added = sums[event["video_id"], event["event_type"]]
        added[0] += 1
        added[1] += event["value"]
    keys = sorted(sums)
    columns = [
        [video_id for video_id, _ in keys],
        [event_type for _, event_type in keys],
        [sums[key][0] for key in keys],
        [sums[key][1] for key in keys],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_ADD_COUNTS, columns)
