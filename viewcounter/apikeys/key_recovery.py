"""Brings API keys back into a rebuilt control database, from the files in which gateways keep them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from viewcounter.apikeys.errors import NoKeyFile
from viewcounter.apikeys.key_file import KeyList, KeyRecord, find_key_list
from viewcounter.apikeys.models import ApiKey


@dataclass(frozen=True, slots=True)
class KeyRecovery:
    """`revoked`: since when, by the prefixes of keys that the control database takes for valid."""

    added: tuple[KeyRecord, ...]
    revoked: Mapping[str, datetime]


def read_key_files(paths: Iterable[Path], *, secret: str, cluster_id: str) -> list[KeyList]:
    """Raises KeyFileRefused, NoKeyFile."""
    lists = []
    for path in paths:
        found = find_key_list(path, secret=secret, cluster_id=cluster_id)
        if found is None:
            raise NoKeyFile(f"{path}: no such file")
        lists.append(found)
    return lists


def plan_recovery(lists: Sequence[KeyList], known: Mapping[str, datetime | None]) -> KeyRecovery:
    """Pure. `known`: since when keys of the control database are revoked, by prefix.

    Of a key that several lists have, the one that was read last counts; a revocation counts in whichever it is.
    """
    records: dict[str, KeyRecord] = {}
    revoked: dict[str, datetime] = {}
    for keys in sorted(lists, key=lambda keys: keys.read_at):
        for record in keys.keys:
            records[record.prefix] = record
            if record.revoked_at is not None:
                revoked.setdefault(record.prefix, record.revoked_at)
    return KeyRecovery(
        added=tuple(
            msgspec.structs.replace(record, revoked_at=revoked.get(prefix))
            for prefix, record in sorted(records.items())
            if prefix not in known
        ),
        revoked={prefix: at for prefix, at in sorted(revoked.items()) if prefix in known and known[prefix] is None},
    )


def read_known_keys() -> dict[str, datetime | None]:
    """Since when each key of the control database is revoked, by prefix."""
    return dict(ApiKey.objects.values_list("prefix", "revoked_at"))


def apply_recovery(recovery: KeyRecovery) -> None:
    """In the caller's transaction."""
    ApiKey.objects.bulk_create(
        ApiKey(
            prefix=record.prefix,
            secret_sha256=record.secret_sha256,
            name=record.name,
            kind=record.kind.value,
            scopes=list(record.scopes),
            allowed_origins=list(record.allowed_origins),
            requests_per_second=record.requests_per_second,
            events_per_second=record.events_per_second,
            expires_at=record.expires_at,
            revoked_at=record.revoked_at,
        )
        for record in recovery.added
    )
    for prefix, revoked_at in recovery.revoked.items():
        ApiKey.objects.filter(prefix=prefix, revoked_at=None).update(revoked_at=revoked_at)
