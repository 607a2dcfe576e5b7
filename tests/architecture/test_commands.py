"""Every command and option has a help text that fits."""

import argparse
import shlex
from collections.abc import Iterator

import pytest

from commandline.command import OperatorCommand
from commandline.entry import find_app_commands, load_own_command
from viewcounter.commands.installed_apps import OTHER_APPS, OWN_APPS

COLUMNS = 98
COMMANDS = {name: load_own_command(app, name) for name, app in find_app_commands(OWN_APPS).items()}
INTERNAL = {"bench_step", "prepare_local", "settings_reference"}
EXAMPLES = [example for command in COMMANDS.values() for example in command.examples]


class Recorder(argparse.HelpFormatter):
    """Records every argument for which help is printed."""

    shown: list[argparse.Action]

    def add_argument(self, action: argparse.Action) -> None:
        type(self).shown.append(action)
        super().add_argument(action)


def list_arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of its subparsers."""
    recorder = type("ThisRecorder", (Recorder,), {"shown": []})
    parser.formatter_class = recorder
    parser.format_help()
    for action in recorder.shown:
        yield action
        if isinstance(action.choices, dict):
            for below in action.choices.values():
                yield from list_arguments(below)


def test_every_command_of_ours_is_listed_under_a_subject_unless_it_is_internal():
    assert {name for name, command in COMMANDS.items() if command.subject is None} == INTERNAL


def test_no_command_of_ours_hides_one_of_django():
    assert set(COMMANDS) & set(find_app_commands(("django.core", *OTHER_APPS))) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does_in_a_line_and_every_argument_what_it_is(name: str):
    command: OperatorCommand = COMMANDS[name]
    width = max(map(len, COMMANDS)) + 4
    assert command.help.endswith(".")
    assert 0 < len(command.summary) <= COLUMNS - width
    arguments = [a for a in list_arguments(command.create_parser("manage.py", name)) if a.help != argparse.SUPPRESS]
    assert [a.dest for a in arguments if not a.help] == []
    assert [a.dest for a in arguments if a.nargs != 0 and not a.choices and not a.metavar] == []
    assert [a.dest for a in arguments if "likewise" in a.help] == []
    assert {"settings", "pythonpath", "no_color", "verbosity"} & {a.dest for a in arguments} == set()


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_command_line_that_is_understood(example: str):
    words = shlex.split(example)
    script, _, name = words[0].partition("bin/")
    name, arguments = (name, words[1:]) if not script else (words[1], words[2:])
    assert script in ("", "manage.py")
    COMMANDS[name].create_parser("manage.py", name).parse_args(arguments)
