"""Reads an instance's password from where its `password_ref` points, each time a connection is made.

Nothing keeps the password, so rotating it needs no restart: new connections use the new one.
"""

import os
from pathlib import Path

from shardproxy.errors import UnreadablePassword


def read_password(password_ref: str) -> str:
    """`env:NAME` or `file:/absolute/path` (one trailing newline is dropped). Raises UnreadablePassword."""
    kind, _, place = password_ref.partition(":")
    if kind == "env":
        password = os.environ.get(place, "")
    elif kind == "file":
        try:
            password = Path(place).read_text(encoding="utf-8").removesuffix("\n")
        except OSError as error:
            raise UnreadablePassword(f"{password_ref}: {error.strerror}") from error
    else:
        raise UnreadablePassword("password_ref starts with neither `env:` nor `file:`")
    if not password:
        raise UnreadablePassword(f"{password_ref}: no password there")
    return password
