"""What `manage.py add_shard` and `manage.py add_replica` share: a server by name and address, looked at, confirmed."""

import getpass
import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError

from configservice.adding.changes import Checked, find_similar
from configservice.adding.tools import get_cluster_tools
from configservice.confirming import confirm
from configservice.errors import CandidateRefused, ConfigServiceError, Refusal
from configservice.models import SslMode
from configservice.topology import Instance, Role, Topology

DEFAULT_PORT = 5432
_OPTIONS = {"name": "--instance", "password_ref": "--password-ref"}
"""Of fields whose option is called otherwise."""


class AddCommand(BaseCommand):
    """Subclasses say what is checked, what is done, and what people are asked before."""

    verb: ClassVar[str]
    role: ClassVar[Role]
    question: ClassVar[str]
    check_candidate: ClassVar[Callable[..., Checked]]
    add: ClassVar[Callable[..., Topology]]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--shard", required=True, help="name of the shard")
        parser.add_argument("--instance", required=True, metavar="NAME", help="what it will be called")
        parser.add_argument("--host", required=True, help="must be allowed by VIEWCOUNTER_INSTANCE_ALLOW_LIST")
        parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)d")
        parser.add_argument("--database", help="default: as the cluster's other primaries have it")
        parser.add_argument("--user", help="default: likewise")
        parser.add_argument("--password-ref", help="env:NAME or file:/absolute/path; default: likewise")
        parser.add_argument("--sslmode", choices=SslMode.values, help="default: likewise")
        parser.add_argument("--zone", default="local", help="default: %(default)s")
        parser.add_argument("--reason", default="", help="kept in the history")
        parser.add_argument("--check-only", action="store_true", help="look and judge; change nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="print the outcome for machines")

    def handle(self, **options: Any) -> None:
        shard: str = options["shard"]
        try:
            tools = get_cluster_tools()
            candidate = build_candidate(options, role=self.role)
            if options["check_only"] or not options["yes"]:
                checked = type(self).check_candidate(shard, candidate, tools)
                self.stderr.write(f"{candidate.name}: {', '.join(checked.findings)}")
            if options["check_only"]:
                self.stdout.write(f"{candidate.name} may join {shard}; nothing was changed")
                return
            if not options["yes"]:
                confirm(self.question.format(name=candidate.name, shard=shard))
            actor = f"{getpass.getuser()} (manage.py {self.verb})"
            topology = type(self).add(
                shard, candidate, tools, actor=actor, reason=options["reason"], progress=self.stderr.write
            )
        except CandidateRefused as error:
            lines = [f"  {_name_option(refusal)}{refusal.reason}" for refusal in error.refusals]
            raise CommandError("\n".join(["refused, nothing was changed:", *lines])) from error
        except ConfigServiceError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            document = {"shard": shard, "instance": candidate.name, "role": self.role.value, "epoch": topology.epoch}
            self.stdout.write(json.dumps(document))
        else:
            self.stdout.write(f"{candidate.name} is {self.role.value} of {shard}, epoch {topology.epoch}")


def build_candidate(given: dict[str, Any], *, role: Role) -> Instance:
    """What is not given is as the primary of the same shard has it, or else of any."""
    similar = find_similar(given["shard"])

    def get(name: str) -> str:
        return str(given.get(name) or getattr(similar, name, "") or "")

    return Instance(
        name=given["instance"],
        role=role,
        host=given["host"],
        port=given["port"],
        database=get("database"),
        user=get("user"),
        password_ref=get("password_ref"),
        zone=given["zone"],
        sslmode=get("sslmode"),
    )


def _name_option(refusal: Refusal) -> str:
    return f"{_OPTIONS.get(refusal.field, f'--{refusal.field}')}: " if refusal.field else ""
