"""The base of our commands: help for people, and Django set up only to carry one out."""

import gc
import shutil
import sys
from argparse import RawDescriptionHelpFormatter
from enum import StrEnum
from textwrap import fill
from typing import Any, ClassVar

import django
from django.apps import apps
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
    handle_default_options,
)
from django.db import connections

MAX_COLUMNS = 100


class Subject(StrEnum):
    """Under which heading of `manage.py help` a command is listed, in this order."""

    TRY = "try out"
    RUN = "run"
    CLUSTER = "cluster"
    DATA = "data"
    KEYS = "keys"


class OperatorCommand(BaseCommand):
    """Subclasses import what they work with in `handle`: `--help` must not wait for it."""

    subject: ClassVar[Subject | None] = None
    """None: of no use to people, and not listed."""
    examples: ClassVar[tuple[str, ...]] = ()
    needs_apps: ClassVar[bool] = True
    """Whether it uses models or anything else that Django must be set up for."""
    script: str = ""
    """The script that people have started, such as `bin/up`."""

    requires_system_checks = ()
    suppressed_base_arguments = frozenset(
        {"--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color"}
    )

    @property
    def summary(self) -> str:
        """The first sentence of `help`."""
        return str(self.help).split(". ")[0].rstrip(".")

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, formatter_class=_HelpFormatter, **options)
        if self.script:
            parser.prog = self.script
        parser.description = fill(self.help, get_columns())
        if self.examples:
            parser.epilog = "\n".join(["examples:", *(f"  {example}" for example in self.examples)])
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """As Django's, which reads every setting at the end of each command to close databases that it never opened."""
        self._called_from_command_line = True
        options = self.create_parser(argv[0], argv[1]).parse_args(argv[2:])
        handle_default_options(options)
        try:
            self.execute(**vars(options))
        except CommandError as error:
            if options.traceback:
                raise
            self.stderr.write(f"{type(error).__name__}: {error}")
            sys.exit(error.returncode)
        finally:
            if apps.ready:
                connections.close_all()

    def prepare_process(self) -> None:
        """What must happen before Django is set up."""

    def execute(self, *args: Any, **options: Any) -> Any:
        if not apps.ready:
            gc.disable()  # all that is loaded stays: looking through it for garbage is a sixth of the work
            try:
                self.prepare_process()
                if self.needs_apps:
                    django.setup()
                gc.freeze()
            finally:
                gc.enable()
        return super().execute(*args, **options)


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the lines of examples."""


def get_columns() -> int:
    """How wide text may be."""
    return min(shutil.get_terminal_size().columns, MAX_COLUMNS) - 2
