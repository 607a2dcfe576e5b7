"""Generates the settings page of the documentation from the settings, so that it is never outdated."""

from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from viewcounter.config import SECTIONS
from viewcounter.config.kinds import PROJECT_ROOT

_HEADER = """\
# Settings

Every setting, its default and its meaning. Set the environment variable, or put a line `NAME=value` into the file
named by `VIEWCOUNTER_ENV_FILE` (default `.local/env`), or a file with the lower-case name into the folder named by
`VIEWCOUNTER_SECRETS_DIR`. The environment wins. Units end the name; a bad value stops the process at boot and is named.

This page is printed by `manage.py settings_reference`.
"""


def render_settings_reference() -> str:
    """Markdown: a table for each section of `viewcounter.config`, a row for each setting."""
    return _HEADER + "".join(_render_section(section) for section in SECTIONS)


def _render_section(section: type[BaseSettings]) -> str:
    rows = [
        f"| `VIEWCOUNTER_{name.upper()}` | {_format_default(field)} | {field.description or _describe(name)} |"
        for name, field in section.model_fields.items()
    ]
    title = (section.__doc__ or "").strip().rstrip(".")
    return f"\n## {title}\n\n| variable | default | meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _describe(name: str) -> str:
    return name.replace("_", " ")


def _format_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default: Any = field.default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if str(default).startswith(str(PROJECT_ROOT)):
        default = str(default).removeprefix(f"{PROJECT_ROOT}/")
    return f"`{default}`" if str(default) else "empty"
