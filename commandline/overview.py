"""The output of `manage.py help`: our commands by subject, one line each, then the names of all others."""

from collections.abc import Mapping, Sequence
from textwrap import fill

from commandline.command import OperatorCommand, Subject, get_columns

_INTRODUCTION = """\
Usage: manage.py COMMAND [OPTIONS]

`manage.py help COMMAND` or `manage.py COMMAND --help` describes a command and its options.
"""
_OTHERS = "of Django and of libraries; all commands also take --settings, --traceback and --no-color"


def render_overview(commands: Mapping[str, OperatorCommand], others: Sequence[str]) -> str:
    columns = get_columns()
    width = max(len(name) for name in commands)
    blocks = [_INTRODUCTION]
    for subject in Subject:
        lines = [
            fill(
                f"  {name:{width}}  {command.summary}",
                columns,
                subsequent_indent=" " * (width + 4),
            )
            for name, command in sorted(commands.items())
            if command.subject is subject
        ]
        blocks.append("\n".join([f"{subject.value}:", *lines, ""]))
    blocks.append(f"{_OTHERS}:\n{fill(' '.join(others), columns, initial_indent='  ', subsequent_indent='  ')}\n")
    return "\n".join(blocks)
