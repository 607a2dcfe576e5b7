"""Asking whoever runs a command before it changes the cluster."""

from django.core.management.base import CommandError


def confirm(question: str) -> None:
    """Raises CommandError for anything but a yes, and where nobody can be asked."""
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError as error:
        raise CommandError("nobody to ask: say --yes") from error
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was changed")
