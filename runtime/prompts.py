"""Confirmation by the operator before a command changes the cluster."""

from django.core.management.base import CommandError


def confirm(question: str) -> None:
    """Raises CommandError for any answer but yes, and without a terminal."""
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError as error:
        raise CommandError("no terminal for the confirmation: use --yes") from error
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("not confirmed, nothing was changed")
