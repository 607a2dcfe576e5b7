"""The steps of a change of primary. Each is idempotent. Pure data; `executor` carries them out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """Accepts the request. `target`: the instance to promote, empty while not chosen."""

    target: str


@dataclass(frozen=True, slots=True)
class Refuse:
    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop writes on the primary: make sessions read only and end open transactions."""

    name: str


@dataclass(frozen=True, slots=True)
class Detach:
    """Stop these standbys from receiving WAL, so that their content stays fixed and they confirm no more commits."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choose:
    """Record candidate and shard term, before any step that cannot be undone."""

    candidate: str
    term: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Set what the candidate needs before its first write, since settings are not replicated."""

    name: str
    synchronous_standby_names: str


@dataclass(frozen=True, slots=True)
class BeginPromotion:
    """Record that from here on the change cannot be undone."""


@dataclass(frozen=True, slots=True)
class Promote:
    name: str


@dataclass(frozen=True, slots=True)
class RecordPromoted:
    """Record that the candidate has left recovery."""


@dataclass(frozen=True, slots=True)
class Repoint:
    """Make these standbys follow `to`."""

    names: tuple[str, ...]
    to: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """Write the shard term into the shard: rows from here on, and standbys that receive them, carry this term."""

    name: str
    term: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish a new epoch: the candidate is primary, the old primary is fenced, the shard term is raised."""

    candidate: str
    term: int


@dataclass(frozen=True, slots=True)
class Release:
    """Allow writes on the primary again."""

    name: str


@dataclass(frozen=True, slots=True)
class RecordUndone:
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Probe the shard again in a moment."""

    why: str


Recorded = Start | Refuse | Choose | BeginPromotion | RecordPromoted | RecordUndone | Publish
"""Steps that only change the record; no server is changed."""

Action = Recorded | Hold | Detach | Prepare | Promote | Repoint | Stamp | Release | Wait
