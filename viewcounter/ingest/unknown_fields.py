"""Fields of a request that no event has: they are named in the answer instead of being dropped silently, or refused."""

from collections.abc import Iterable

from viewcounter.events.message import Event
from viewcounter.ingest.faults import EventFault, ItemProblem

EVENT_FIELDS = frozenset(Event.__struct_fields__)
MAX_NAMES = 20
MAX_NAME_CHARACTERS = 64
_BY_PLAIN_NAME = {field.replace("_", ""): field for field in sorted(EVENT_FIELDS)}


class UnknownFields:
    """Of one request. At most MAX_NAMES names are kept, each cut to MAX_NAME_CHARACTERS.

    `are_refused`: an event that has such a field is refused, otherwise the field is ignored.
    """

    def __init__(self, *, are_refused: bool = False) -> None:
        self.are_refused = are_refused
        self._names: set[str] = set()

    @property
    def ignored(self) -> list[str]:
        """In the order of the alphabet."""
        return [] if self.are_refused else sorted(self._names)

    def note(self, names: Iterable[str]) -> list[EventFault]:
        """The faults of the event that has these fields; none unless they are refused."""
        if not names:
            return []
        shown = sorted({_show(name) for name in names})[:MAX_NAMES]
        if self.are_refused:
            return [EventFault("unknown_field", name, _describe(name)) for name in shown]
        self._names.update(shown[: MAX_NAMES - len(self._names)])
        return []

    def refuse_unnamed(self, event: Event, index: int) -> Event | ItemProblem:
        """Of an event with other fields than an event has, in a request that has too many values to name them."""
        if not self.are_refused:
            return event
        message = "Has fields that no event has. The request has too many values to name them."
        return ItemProblem(index, str(event.event_id), "unknown_field", None, message)


def _show(name: str) -> str:
    """Names of clients may hold characters that no response can: lone surrogates, and invisible ones."""
    return (name if name.isprintable() else ascii(name)[1:-1])[:MAX_NAME_CHARACTERS]


def _describe(name: str) -> str:
    meant = _BY_PLAIN_NAME.get("".join(character for character in name if character.isalnum()).lower())
    return f"No event has this field; {f'write {meant}' if meant else 'leave it out'}, or send without strict."
