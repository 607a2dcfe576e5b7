"""Errors of the client library. None is raised because an event could not be delivered yet."""

from dataclasses import dataclass
from typing import Any


class ViewcounterError(Exception):
    """Base of all errors of this package."""


class InvalidEvent(ViewcounterError, ValueError):
    """The arguments of `track` are not an event; nothing was taken. `field` names the argument."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class BufferFull(ViewcounterError):
    """The buffer is full and the overflow policy is `raise`. The event was not taken."""


class ClientClosed(ViewcounterError):
    """The client was closed, or the process has forked since it was created: create a client in each child."""


class SpoolInUse(ViewcounterError):
    """Another living client has this spool directory. Give each client its own."""


class RequestRefused(ViewcounterError):
    """The service refuses the query; retrying does not help. `reasons` name fields and faults."""

    def __init__(self, *, status: int, code: str, detail: str, reasons: tuple[str, ...], request_id: str) -> None:
        explained = f"{detail} {'; '.join(reasons)}".strip()
        super().__init__(f"{status} {code}: {explained}" + (f" (request {request_id})" if request_id else ""))
        self.status = status
        self.code = code
        self.detail = detail
        self.reasons = reasons
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class LostRange:
    """Entries of a partition of the service's event log past the position `after`, up to and including `through`."""

    partition: int
    after: str
    through: str

    def contains(self, position: str) -> bool:
        return _order(self.after) < _order(position) <= _order(self.through)


class EventsLost(RequestRefused):
    """The service has lost accepted events that the query was to include, and this client no longer has them, or lost
    them once more: send them again under their ids. `lost`: where they were in the event log."""

    def __init__(self, *, lost: tuple[LostRange, ...], **refusal: Any) -> None:
        super().__init__(**refusal)
        self.lost = lost


class ServiceUnavailable(ViewcounterError):
    """No answer within the attempts and the deadline, or the circuit breaker is open. QueryAttempts later may help."""


def _order(position: str) -> tuple[int, int]:
    term, _, sequence = position.partition("-")
    return int(term), int(sequence)
