"""Entries for tests of the event log: written, made up, and read back."""

from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import START, EventLog, Position


def append_all(log: EventLog, partition: int, payloads: list[bytes]) -> list[Position]:
    return [log.append({partition: payload}).positions[partition] for payload in payloads]


def pack(event_count: int, *, received_us: int = 0) -> bytes:
    """An entry of so many events."""
    event = AcceptedEvent(bytes(range(16)), "video", 1, 0, 0)
    return pack_entry([event] * event_count, received_us=received_us)


def read_payloads(log: EventLog, partition: int, *, after: Position = START) -> list[bytes]:
    return [entry.payload for entry in log.read(partition, after=after, max_entries=1000)]


def past(position: Position) -> Position:
    """Another one of its term, that no entry has."""
    return Position(position.term, position.seq + 60_000)
