"""Base class of our commands: readable help, and Django set up only when a command is executed."""

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
    """Headings of `manage.py help`, in the order of the page."""

    TRY = "try out"
    RUN = "run"
    CLUSTER = "cluster"
    DATA = "data"
    KEYS = "keys"


class OperatorCommand(BaseCommand):
    """Subclasses import what they work with in `handle`: `--help` must not wait for it."""

    subject: ClassVar[Subject | None] = None
    """Heading in `manage.py help`; None: internal, not listed."""
    examples: ClassVar[tuple[str, ...]] = ()
    needs_apps: ClassVar[bool] = True
    """Whether the command needs `django.setup()`, for models for example."""
    script: str = ""
    """The script that was started instead of `manage.py`, such as `bin/up`."""

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
        """Replaces Django's, which loads the settings after every command to close databases that it never opened."""
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
        """Hook that runs before Django is set up."""

    def execute(self, *args: Any, **options: Any) -> Any:
        if not apps.ready:
            gc.disable()  # modules are never garbage: collecting while they load costs a sixth of the start
            try:
                self.prepare_process()
                if self.needs_apps:
                    django.setup()
                gc.freeze()
            finally:
                gc.enable()
        return super().execute(*args, **options)


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the line breaks of examples."""


def get_columns() -> int:
    """Maximum width of printed text."""
    return min(shutil.get_terminal_size().columns, MAX_COLUMNS) - 2
