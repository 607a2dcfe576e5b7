"""Base class of `manage.py add_shard` and `manage.py add_replica`: inspect a server, confirm, add it."""

import getpass
import json
from abc import ABC, abstractmethod
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject
from configservice.errors import CandidateRefused, ConfigServiceError, Refusal
from configservice.topology.model import Instance, Role, Topology
from runtime.prompts import confirm

if TYPE_CHECKING:
    from configservice.join.changes import CheckedServer

DEFAULT_PORT = 5432
_AS_OTHERS = "default: that of the shard's primary, or of another one"
_OPTIONS = {"name": "--instance", "password_ref": "--password-ref"}
"""Options of fields that have another name than their option."""


@dataclass(frozen=True, slots=True)
class Steps:
    """`check` inspects a server and changes nothing; `add` adds it."""

    check: "Callable[..., CheckedServer]"
    add: Callable[..., Topology]


class AddCommand(OperatorCommand, ABC):
    """Subclasses give the steps and the question that the operator confirms."""

    subject = Subject.CLUSTER
    verb: ClassVar[str]
    role: ClassVar[Role]
    question: ClassVar[str]

    @abstractmethod
    def get_steps(self) -> Steps: ...

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--shard", required=True, metavar="NAME", help="name of the shard")
        parser.add_argument("--instance", required=True, metavar="NAME", help="name of the new instance")
        parser.add_argument(
            "--host",
            required=True,
            metavar="HOST",
            help="name or address of the server; VIEWCOUNTER_CONFIGSERVICE_INSTANCE_ALLOW_LIST must allow it",
        )
        parser.add_argument(
            "--port", type=int, default=DEFAULT_PORT, metavar="PORT", help="port of the server (default: %(default)d)"
        )
        parser.add_argument("--database", metavar="NAME", help=f"name of its database ({_AS_OTHERS})")
        parser.add_argument("--user", metavar="ROLE", help=f"role to connect as ({_AS_OTHERS})")
        parser.add_argument(
            "--password-ref",
            metavar="REF",
            help=f"where its password is: env:NAME or file:/absolute/path ({_AS_OTHERS})",
        )
        parser.add_argument(
            "--sslmode", metavar="MODE", help=f"disable, prefer, require, verify-ca or verify-full ({_AS_OTHERS})"
        )
        parser.add_argument(
            "--zone", default="local", metavar="ZONE", help="zone that the server is in (default: %(default)s)"
        )
        parser.add_argument("--reason", default="", metavar="TEXT", help="reason, for the history")
        parser.add_argument("--check-only", action="store_true", help="inspect and validate; change nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON")

    def handle(self, **options: Any) -> None:
        from configservice.join.dependencies import get_cluster_tools

        shard: str = options["shard"]
        steps = self.get_steps()
        try:
            tools = get_cluster_tools()
            candidate = build_candidate(options, role=self.role)
            if options["check_only"] or not options["yes"]:
                checked = steps.check(shard, candidate, tools)
                self.stderr.write(f"{candidate.name}: {', '.join(checked.findings)}")
            if options["check_only"]:
                self.stdout.write(f"{candidate.name} may join {shard}; nothing was changed")
                return
            if not options["yes"]:
                confirm(self.question.format(name=candidate.name, shard=shard))
            actor = f"{getpass.getuser()} (manage.py {self.verb})"
            topology = steps.add(
                shard, candidate, tools, actor=actor, reason=options["reason"], progress=self.stderr.write
            )
        except CandidateRefused as error:
            lines = [f"  {_format_option(refusal)}{refusal.reason}" for refusal in error.refusals]
            raise CommandError("\n".join(["refused, nothing was changed:", *lines])) from error
        except ConfigServiceError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            document = {"shard": shard, "instance": candidate.name, "role": self.role.value, "epoch": topology.epoch}
            self.stdout.write(json.dumps(document))
        else:
            self.stdout.write(f"{candidate.name} is {self.role.value} of {shard}, epoch {topology.epoch}")


def build_candidate(given: dict[str, Any], *, role: Role) -> Instance:
    """Missing fields are taken from the primary of the same shard, or of any other shard."""
    from configservice.join.changes import find_similar

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


def _format_option(refusal: Refusal) -> str:
    return f"{_OPTIONS.get(refusal.field, f'--{refusal.field}')}: " if refusal.field else ""
