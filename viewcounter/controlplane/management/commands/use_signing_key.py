"""`manage.py use_signing_key FILE`: sign topologies with another key, when every process accepts it."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject


class Command(OperatorCommand):
    subject = Subject.KEYS
    help = (
        "Sign topologies with another key once every process knows it. Moves FILE to where the config services of this "
        "host read their key; refuses while a living process would not accept its signatures. How to rotate keys: "
        "docs/operations/topology.md."
    )
    examples = ("manage.py use_signing_key /etc/viewcounter/topology-signing-key.pem.new",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="the new private key; it is moved")
        parser.add_argument(
            "--force", action="store_true", help="although processes do not know the key: they refuse the next change"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        from django.conf import settings

        from configservice.errors import BadSigningKey
        from configservice.topology.signing import read_signing_key

        new, current = options["file"], settings.TOPOLOGY_SIGNING_KEY_FILE
        if current is None:
            raise CommandError(
                "VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE is not set: run this on a host of a config service"
            )
        try:
            key = read_signing_key(new)
            if current.exists() and new.stat().st_uid != current.stat().st_uid:
                raise CommandError(f"{new} belongs to another user than {current}: chown it first")
            if problem := self._find_problem(key.id):
                if not options["force"]:
                    raise CommandError(f"{problem}. {current} is unchanged; --force replaces it nevertheless")
                self.stderr.write(f"warning: {problem}")
            new.replace(current)
        except BadSigningKey as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{new} was not moved to {current}: {error.strerror}") from error
        self.stdout.write(f"Config services of this host sign with key {key.id} within seconds. Other hosts are next.")

    def _find_problem(self, key_id: str) -> str:
        """Why the key must not be used yet; empty if it may. Warns of processes that may come back without it."""
        from configservice.registry.known_keys import find_lacking, list_names
        from configservice.registry.services import ServiceState, list_key_holders
        from viewcounter.health.registration import find_services

        services = find_services()
        if services is None:
            return "the service registry does not answer, so it is not known which processes accept the key"
        for found in services:
            if found.service.state is ServiceState.LOST:
                self.stderr.write(
                    f"warning: {found.service.kind} {found.service.host}:{found.service.pid} has not been heard for"
                    f" {found.age_seconds:.0f} s; if it lives without the key, it will refuse the next change"
                )
        lacking = find_lacking(list_key_holders(services), key_id)
        return f"{len(lacking)} processes do not know key {key_id}: {list_names(lacking)}" if lacking else ""
