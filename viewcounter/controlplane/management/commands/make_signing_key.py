"""`manage.py make_signing_key FILE`: make a key with which config services sign topologies."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject


class Command(OperatorCommand):
    subject = Subject.KEYS
    needs_apps = False
    help = (
        "Make a key with which config services sign topologies. The private half is written to FILE, which must not "
        "exist; the public half is printed. How to rotate keys: docs/operations/topology.md."
    )
    examples = ("manage.py make_signing_key /etc/viewcounter/topology-signing-key.pem",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="for the private key; only its owner may read it")
        parser.add_argument("--quiet", action="store_true", help="print only the public key")

    def handle(self, *_args: Any, **options: Any) -> None:
        from configservice.topology.signing import make_signing_key_file

        path: Path = options["file"]
        try:
            key = make_signing_key_file(path)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from error
        if options["quiet"]:
            self.stdout.write(key.public)
            return
        self.stdout.write(
            f"Made key {key.id}. Set on hosts of config services only:\n"
            f"  VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE={path.absolute()}\n"
            f"Add to the setting of every process:\n"
            f"  VIEWCOUNTER_CLUSTER_TOPOLOGY_PUBLIC_KEYS={key.public}"
        )
