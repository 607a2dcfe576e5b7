"""Passwords of databases: read anew for each connection, and changed without a restart or a failed one.

While a password is being changed its file holds the old and the new one, a line each. A server accepts only one of
them, and every new connection finds out which; see docs/operations/secrets.md.
"""

import os

from configservice.topology.password_refs import PasswordRefNotAllowed, PasswordRefRules
from shardproxy.errors import UnreadablePassword


def list_passwords(passwords: str) -> list[str]:
    """One a line, which may end in CR LF. Without empty lines; at least one, which may be empty."""
    return [line for line in (line.removesuffix("\r") for line in passwords.split("\n")) if line] or [""]


def read_password(password_ref: str, rules: PasswordRefRules) -> str:
    """`env:NAME` or `file:/absolute/path` (one trailing newline is dropped); may be several, one a line.

    Raises UnreadablePassword.
    """
    kind, _, location = password_ref.partition(":")
    try:
        password = _read(kind, location, rules)
    except PasswordRefNotAllowed as error:
        raise UnreadablePassword(f"password reference not allowed: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadablePassword(f"{password_ref}: {getattr(error, 'strerror', 'it is not UTF-8')}") from error
    if password is None:
        raise UnreadablePassword("password_ref starts with neither `env:` nor `file:`")
    if not password:
        raise UnreadablePassword(f"{password_ref}: the password is empty or missing")
    return password


def _read(kind: str, location: str, rules: PasswordRefRules) -> str | None:
    """None for an unknown kind."""
    if kind == "env":
        rules.check_variable(location)
        return os.environ.get(location, "")
    if kind == "file":
        return rules.find_file(location).read_text(encoding="utf-8").removesuffix("\n")
    return None
