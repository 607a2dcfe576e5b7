"""The proof: acknowledged events = raw rows = totals = minutes = ledger, event by event, with its viewer."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

from devtools.drill.load import LoadClient
from viewcounter.events.viewer import NO_VIEWER

ReadShards = Callable[[str], list[dict[str, Any]]]
"""Rows of one statement on the primary of every shard."""

SHOWN_MAX = 5


def find_miscounts(
    load: LoadClient, read_shards: ReadShards, *, poison: Collection[UUID] = (), lost: Collection[UUID] = ()
) -> list[str]:
    """Differences between the shards and the acknowledgements, a line each. Call when everything has been applied.

    `poison`: events that were written to the log although they cannot be counted; each must be a dead letter. `lost`:
    acknowledged events that the service has reported as lost; none of them may be counted.
    """
    if not load.acknowledged:
        return ["no event was acknowledged, so nothing is proved"]
    raw = read_shards("SELECT event_id, viewer FROM raw_event")
    kept = {event: what for event, what in load.acknowledged.items() if event not in lost}
    return [
        *_compare_ids(kept, raw),
        *_compare_viewers(load.viewers, raw),
        *_compare_packed_ids(kept, read_shards("SELECT ids FROM event_ids")),
        *_compare_counts(load.expect_counts(without=lost), read_shards),
        *_compare_ledger(len(kept), read_shards, poison),
    ]


def _compare_ids(acknowledged: Mapping[UUID, object], rows: list[dict[str, Any]]) -> list[str]:
    raw = Counter(row["event_id"] for row in rows)
    return _describe("raw events", acknowledged, raw)


def _compare_viewers(named: Mapping[UUID, str], rows: list[dict[str, Any]]) -> list[str]:
    """Each viewer of the clients must have exactly one number, and no number two viewers. Needs no key."""
    numbers: dict[str | None, int] = {None: NO_VIEWER}
    names: dict[int, str | None] = {NO_VIEWER: None}
    wrong = []
    for row in rows:
        name, number = named.get(row["event_id"]), row["viewer"]
        if numbers.setdefault(name, number) != number or names.setdefault(number, name) != name:
            wrong.append(row["event_id"])
    return [f"viewers: {len(wrong)} raw events have another viewer: {_list_some(wrong)}"] if wrong else []


def _compare_packed_ids(acknowledged: Mapping[UUID, object], rows: list[dict[str, Any]]) -> list[str]:
    """Compare the ids stored for de-duplication: a duplicate of a missing one would be counted."""
    packed: Counter[UUID] = Counter()
    for row in rows:
        ids = bytes(row["ids"])
        packed.update(UUID(bytes=ids[at : at + 16]) for at in range(0, len(ids), 16))
    return _describe("known ids", acknowledged, packed)


def _describe(what: str, acknowledged: Mapping[UUID, object], found: Counter[UUID]) -> list[str]:
    lost = [event for event in acknowledged if event not in found]
    foreign = [event for event in found if event not in acknowledged]
    doubled = [event for event, count in found.items() if count > 1]
    return [
        f"{what}: {len(events)} {name}: {_list_some(events)}"
        for name, events in (
            ("acknowledged events are lost", lost),
            ("exist that were never acknowledged", foreign),
            ("exist more than once", doubled),
        )
        if events
    ]


def _compare_counts(expected: Counter[tuple[str, str]], read_shards: ReadShards) -> list[str]:
    names = {row["id"]: row["name"] for row in read_shards("SELECT id, name FROM event_type")}
    said = []
    for table in ("event_total", "event_minute"):
        rows = read_shards(f"SELECT video_id, event_type_id, count FROM {table}")  # noqa: S608 - one of two names
        counts: Counter[tuple[str, str]] = Counter()
        for row in rows:
            counts[row["video_id"], names[row["event_type_id"]]] += row["count"]
        said += compare_sums(table, expected, counts)
    return said


def compare_sums(what: str, expected: Mapping[tuple[str, str], int], found: Mapping[tuple[str, str], int]) -> list[str]:
    """Compare counts by video and event type; zero equals a missing count."""
    wrong = [
        f"{video} {event_type}: {found.get((video, event_type), 0)} instead of {expected.get((video, event_type), 0)}"
        for video, event_type in sorted({*expected, *found})
        if found.get((video, event_type), 0) != expected.get((video, event_type), 0)
    ]
    return [f"{what}: {len(wrong)} counts are wrong: {_list_some(wrong)}"] if wrong else []


def _compare_ledger(acknowledged: int, read_shards: ReadShards, poison: Collection[UUID]) -> list[str]:
    rows = read_shards(
        "SELECT sum(counted)::bigint AS counted, sum(conflict)::bigint AS conflict,"
        " sum(dead_lettered)::bigint AS dead FROM ledger"
    )
    sums = {name: sum(row[name] or 0 for row in rows) for name in ("counted", "conflict", "dead")}
    letters = read_shards("SELECT event_id, reason, detail, attempts FROM dead_letter")
    said = []
    if sums["counted"] != acknowledged:
        said.append(f"ledger: {sums['counted']} events counted, {acknowledged} acknowledged")
    if sums["conflict"]:
        said.append(f"ledger: {sums['conflict']} conflicts, although no two events had the same id")
    if {letter["event_id"] for letter in letters} != set(poison):
        said.append(f"dead letters: {_list_some(letters)} instead of {_list_some(poison)}")
    if sums["dead"] != sum(letter["attempts"] for letter in letters):
        said.append(f"ledger: {sums['dead']} events dead-lettered, {len(letters)} dead letters")
    return said


def _list_some(items: Collection[object]) -> str:
    shown = ", ".join(str(item) for item in list(items)[:SHOWN_MAX])
    return shown + (", ..." if len(items) > SHOWN_MAX else "") if items else "none"
