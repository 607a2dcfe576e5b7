"""The steps a change of primary is made of. Each may be done twice. Pure data; `steps` carries them out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """The request can be done; `target` is who will be promoted, empty while that is open."""

    target: str


@dataclass(frozen=True, slots=True)
class Refuse:
    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Let the primary take no more writes: sessions read only, transactions under way ended."""

    name: str


@dataclass(frozen=True, slots=True)
class Detach:
    """Let these standbys receive from nobody, so that what they hold no longer changes and confirms nothing."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choose:
    """Write down candidate and term, before anything that cannot be undone."""

    candidate: str
    term: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """What must be set before it takes its first write, since it does not travel by itself."""

    name: str
    synchronous_standby_names: str


@dataclass(frozen=True, slots=True)
class BeginPromotion:
    """Write down that from here there is no way back."""


@dataclass(frozen=True, slots=True)
class Promote:
    name: str


@dataclass(frozen=True, slots=True)
class NotePromoted:
    """Write down that the candidate has left recovery."""


@dataclass(frozen=True, slots=True)
class Repoint:
    """Let these standbys follow `to`."""

    names: tuple[str, ...]
    to: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """Write the term into the shard itself: from here its rows are of this term, and so is everybody who gets them."""

    name: str
    term: int


@dataclass(frozen=True, slots=True)
class Publish:
    """The candidate is primary, the old primary fenced, the term raised: a new epoch."""

    candidate: str
    term: int


@dataclass(frozen=True, slots=True)
class Release:
    """Let the primary take writes again."""

    name: str


@dataclass(frozen=True, slots=True)
class NoteUndone:
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again in a moment."""

    why: str


Recorded = Start | Refuse | Choose | BeginPromotion | NotePromoted | NoteUndone | Publish
"""Written down, and no server is touched."""

Action = Recorded | Hold | Detach | Prepare | Promote | Repoint | Stamp | Release | Wait
