"""`manage.py list_api_keys`: list the keys and their last use."""

import json
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from commandline.command import OperatorCommand, Subject
from commandline.table import align

if TYPE_CHECKING:
    from viewcounter.apikeys.models import ApiKey

TITLES = (
    "prefix",
    "name",
    "kind",
    "state",
    "scopes",
    "origins",
    "limits",
    "created",
    "last used",
    "expires",
    "revoked",
)


class Command(OperatorCommand):
    subject = Subject.KEYS
    help = (
        "List all API keys: what each may do, and when it was used last. Revoked and expired ones too. Secrets are not "
        "stored, so that nobody can list them."
    )
    examples = ("manage.py list_api_keys", "manage.py list_api_keys --json")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON array")

    def handle(self, *_args: Any, **options: Any) -> None:
        from viewcounter.apikeys.keys import list_keys

        keys = [_encode(key, now=datetime.now(UTC)) for key in list_keys()]
        if options["json"]:
            self.stdout.write(json.dumps(keys, indent=2, default=datetime.isoformat))
            return
        for line in align([TITLES, *(_describe(key) for key in keys)]):
            self.stdout.write(line)


def _encode(key: "ApiKey", *, now: datetime) -> dict[str, Any]:
    is_expired = key.expires_at is not None and key.expires_at <= now
    return {
        "prefix": key.prefix,
        "name": key.name,
        "kind": key.kind,
        "state": "revoked" if key.revoked_at is not None else "expired" if is_expired else "valid",
        "scopes": key.scopes,
        "allowed_origins": key.allowed_origins,
        "requests_per_second": key.requests_per_second,
        "events_per_second": key.events_per_second,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def _describe(key: dict[str, Any]) -> tuple[str, ...]:
    limits = [
        f"{key[name]} {unit}/s"
        for name, unit in (("requests_per_second", "requests"), ("events_per_second", "events"))
        if key[name] is not None
    ]
    return (
        *(key[name] for name in ("prefix", "name", "kind", "state")),
        ",".join(key["scopes"]),
        ",".join(key["allowed_origins"]),
        ", ".join(limits),
        *(_show(key[name]) for name in ("created_at", "last_used_at", "expires_at", "revoked_at")),
    )


def _show(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}Z"
