"""Base class of `manage.py drain_instance`, `undrain_instance` and `remove_instance`."""

import getpass
from abc import ABC, abstractmethod
from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject
from configservice.errors import ConfigServiceError
from configservice.topology.model import Instance, Shard
from runtime.prompts import confirm


class DrainingCommand(OperatorCommand, ABC):
    """Subclasses make the change. If `describe` returns a text, the operator has to confirm it."""

    subject = Subject.CLUSTER
    verb: ClassVar[str]
    outcome: ClassVar[str]

    def describe(self, shard: Shard, instance: Instance) -> str:  # noqa: ARG002 - of subclasses
        return ""

    @abstractmethod
    def change(self, name: str, *, actor: str, reason: str) -> int:
        """Returns the epoch. Raises ConfigServiceError."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("instance", metavar="INSTANCE", help="name of the instance, such as shard1b")
        parser.add_argument("--reason", default="", metavar="TEXT", help="reason, for the history")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def handle(self, **options: Any) -> None:
        from configservice.join.draining import find_instance

        name: str = options["instance"]
        try:
            consequences = "" if options["yes"] else self.describe(*find_instance(name))
            if consequences:
                self.stderr.write(consequences)
                confirm("Go on?")
            epoch = self.change(name, actor=f"{getpass.getuser()} (manage.py {self.verb})", reason=options["reason"])
        except ConfigServiceError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.outcome.format(name=name, epoch=epoch))
