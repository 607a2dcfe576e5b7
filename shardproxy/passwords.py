"""Reads an instance's password from where its `password_ref` points, each time a connection is made.

Nothing keeps the password, so rotating it needs no restart: new connections use the new one.
"""

import os

from configservice.topology.password_refs import PasswordRefNotAllowed, PasswordRefRules
from shardproxy.errors import UnreadablePassword


def read_password(password_ref: str, rules: PasswordRefRules) -> str:
    """`env:NAME` or `file:/absolute/path` (one trailing newline is dropped). Raises UnreadablePassword."""
    kind, _, place = password_ref.partition(":")
    try:
        password = _read(kind, place, rules)
    except PasswordRefNotAllowed as error:
        raise UnreadablePassword(f"password reference not allowed: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadablePassword(f"{password_ref}: {getattr(error, 'strerror', 'it is no text')}") from error
    if password is None:
        raise UnreadablePassword("password_ref starts with neither `env:` nor `file:`")
    if not password:
        raise UnreadablePassword(f"{password_ref}: no password there")
    return password


def _read(kind: str, place: str, rules: PasswordRefRules) -> str | None:
    """None for an unknown kind."""
    if kind == "env":
        rules.check_variable(place)
        return os.environ.get(place, "")
    if kind == "file":
        return rules.find_file(place).read_text(encoding="utf-8").removesuffix("\n")
    return None
