"""What `manage.py drain_instance`, `undrain_instance` and `remove_instance` share."""

import getpass
from abc import ABC, abstractmethod
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError

from configservice.confirming import confirm
from configservice.draining import find_instance
from configservice.errors import ConfigServiceError


class DrainingCommand(BaseCommand, ABC):
    """Subclasses say what is done. With `describe`, people are told what it means and asked before."""

    verb: ClassVar[str]
    outcome: ClassVar[str]
    describe: ClassVar[Callable[..., str] | None] = None

    @abstractmethod
    def change(self, name: str, *, actor: str, reason: str) -> int:
        """Returns the epoch. Raises ConfigServiceError."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("instance", metavar="INSTANCE")
        parser.add_argument("--reason", default="", help="kept in the history")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, **options: Any) -> None:
        name: str = options["instance"]
        describe = type(self).describe
        try:
            if describe is not None and not options["yes"]:
                self.stderr.write(describe(*find_instance(name)))
                confirm("Go on?")
            epoch = self.change(name, actor=f"{getpass.getuser()} (manage.py {self.verb})", reason=options["reason"])
        except ConfigServiceError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.outcome.format(name=name, epoch=epoch))
