"""Base class of `manage.py failover` and `manage.py switchover`: request, wait, print the outcome."""

import getpass
import json
from abc import ABC, abstractmethod
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject
from configservice.errors import ConfigServiceError
from configservice.failover.state import FailoverState
from runtime.prompts import confirm

if TYPE_CHECKING:
    from configservice.failover.records import Failover

WAIT_SECONDS = 60.0


class FailoverCommand(OperatorCommand, ABC):
    """Subclasses send the request and give the warning that is shown for confirmation."""

    subject = Subject.CLUSTER
    verb: ClassVar[str]
    warning: ClassVar[str]

    @abstractmethod
    def send_request(self, **request: Any) -> "Failover":
        """Like `request_failover`."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--shard", required=True, metavar="NAME", help="name of the shard")
        parser.add_argument("--to", default="", metavar="INSTANCE", help="the replica to promote (default: the best)")
        parser.add_argument("--reason", default="", metavar="TEXT", help="reason, for the history")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
        parser.add_argument(
            "--wait-seconds",
            type=float,
            default=WAIT_SECONDS,
            metavar="SECONDS",
            help="how long to wait for the outcome (default: %(default)g)",
        )

    def handle(self, **options: Any) -> None:
        from configservice.failover.requests import await_outcome

        try:
            primary = _find_primary(options["shard"])
            if not options["yes"]:
                self._confirm(options["shard"], primary, options["to"], accepts_loss=options.get("accepts_loss", False))
            actor = f"{getpass.getuser()} (manage.py {self.verb})"
            requested = self.send_request(
                shard=options["shard"],
                target=options["to"],
                reason=options["reason"] or f"manage.py {self.verb}",
                actor=actor,
                **({"accepts_loss": True} if options.get("accepts_loss") else {}),
            )
            failover = await_outcome(requested, within_seconds=options["wait_seconds"])
        except ConfigServiceError as error:
            raise CommandError(str(error)) from error
        if failover.state != FailoverState.DONE:
            raise CommandError(f"not done yet, the {self.verb} continues: {failover.state}, {failover.message}")
        self.stdout.write(json.dumps(_build_document(failover)) if options["json"] else _describe(failover))

    def _confirm(self, shard: str, primary: str, target: str, *, accepts_loss: bool) -> None:
        self.stdout.write(f"{shard}: {primary or 'no primary'} -> {target or 'the most advanced replica'}")
        self.stdout.write(self.warning)
        if accepts_loss:
            self.stdout.write(
                f"Entries that {target} has not applied and the event log no longer holds are lost: these acknowledged "
                "events are not counted, unless clients send them again."
            )
        confirm("Go on?")


def _find_primary(shard_name: str) -> str:
    from configservice.failover.requests import find_shard
    from configservice.models import Instance, RoleChoice

    shard = find_shard(shard_name)
    primary = Instance.objects.filter(shard=shard, role=RoleChoice.PRIMARY).first()
    return "" if primary is None else str(primary.name)


def _build_document(failover: "Failover") -> dict[str, Any]:
    return {
        "shard": failover.shard.name,
        "kind": failover.kind,
        "old_primary": failover.old_primary,
        "primary": failover.candidate,
        "term": failover.term,
        "epoch": failover.epoch,
        "write_pause_ms": failover.write_pause_ms,
        "message": failover.message,
    }


def _describe(failover: "Failover") -> str:
    pause = "" if failover.write_pause_ms is None else f"; writes paused for {failover.write_pause_ms} ms"
    hint = f"\n{failover.message}" if failover.accepts_loss else ""
    return (
        f"{failover.shard.name}: {failover.old_primary} -> {failover.candidate}, shard term {failover.term}, "
        f"epoch {failover.epoch}{pause}{hint}"
    )
