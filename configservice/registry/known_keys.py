"""Which public keys of the topology's signers living processes know, so that a key is replaced when all know the next.

Imports nothing of the package: `manage.py status` uses it on the JSON of a gateway.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A living process. `key_ids`: those that it verifies with; empty: it verifies nothing and accepts any signature;
    None: its release does not tell."""

    name: str
    key_ids: Sequence[str] | None


def find_lacking(holders: Iterable[KeyHolder], key_id: str) -> list[str]:
    """Names of the processes that would refuse a topology signed by this key alone, or do not tell."""
    return [
        holder.name for holder in holders if holder.key_ids is None or (holder.key_ids and key_id not in holder.key_ids)
    ]


def describe_known_keys(holders: Sequence[KeyHolder]) -> list[str]:
    """A line for each key that at least one of them knows; none if nothing is verified."""
    key_ids = sorted({key_id for holder in holders for key_id in holder.key_ids or ()})
    return [f"public key {key_id}: {_describe(holders, key_id)}" for key_id in key_ids]


def list_names(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _describe(holders: Sequence[KeyHolder], key_id: str) -> str:
    lacking = find_lacking(holders, key_id)
    if not lacking:
        return f"all {len(holders)} processes accept it"
    return f"{len(lacking)} of {len(holders)} processes do not know it: {list_names(lacking)}"
