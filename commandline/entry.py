"""Finds the command named on the command line and runs it, without loading any other one."""

import os
import select
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from signal import SIGPIPE

from django.core.management import ManagementUtility, find_commands

from commandline.command import OperatorCommand
from commandline.overview import render_overview

HELP = ("help", "--help", "-h")


class CommandLine:
    """`own_apps`: apps with commands of ours. `other_apps`: apps of Django and of libraries.

    `script`: the script that was started instead of `manage.py`, such as `bin/up`.
    """

    def __init__(
        self, argv: Sequence[str], *, own_apps: Sequence[str], other_apps: Sequence[str], script: str = ""
    ) -> None:
        self._argv = list(argv)
        self._own = find_app_commands(own_apps)
        self._other_apps = other_apps
        self._script = script

    def execute(self) -> None:
        words = self._argv[1:] or ["help"]
        if words[0] in HELP and len(words) == 1:
            commands = {name: self._load(name) for name in self._own}
            others = find_app_commands(("django.core", *self._other_apps))
            sys.stdout.write(render_overview(commands, sorted(others)))
        elif words[0] == "help" and words[1] in self._own:
            self._load(words[1]).print_help(self._argv[0], words[1])
        elif words[0] in self._own:
            self._load(words[0]).run_from_argv(self._argv)
        else:
            ManagementUtility(self._argv).execute()

    def _load(self, name: str) -> OperatorCommand:
        command = load_own_command(self._own[name], name)
        command.script = self._script
        return command


def find_app_commands(apps: Iterable[str]) -> Mapping[str, str]:
    """The app of each command, by the command's name. Reads directories; imports no app."""
    return {name: app for app in apps for name in find_commands(Path(_find_folder(app), "management"))}


def load_own_command(app: str, name: str) -> OperatorCommand:
    command = import_module(f"{app}.management.commands.{name}").Command()
    if not isinstance(command, OperatorCommand):
        raise TypeError(f"the command {name} of {app} is not an OperatorCommand")
    return command


def _find_folder(app: str) -> str:
    spec = find_spec(app)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package {app}")
    return spec.submodule_search_locations[0]


@contextmanager
def quiet_when_unread() -> Iterator[None]:
    """Exit without a traceback when the reader of the output has closed it, as in `bin/status | head -1`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_unread(sys.stdout.fileno()):
            raise
        # The interpreter flushes the buffer again when it exits, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + SIGPIPE)


def _is_unread(descriptor: int) -> bool:
    """Whether it is a pipe without a reader. The error may be of another pipe or socket, such as a connection."""
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are reported for any mask
    return bool(poll.poll(0))
