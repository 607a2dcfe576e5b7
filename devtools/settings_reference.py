"""Generates the settings page of the documentation from the settings, so that it is never outdated."""

import dataclasses
from typing import Any

from pydantic import SecretStr

from devtools.settings import DevtoolsConfig
from viewcounter.config.project import PROJECT_ROOT
from viewcounter.config.reading import Setting, list_settings

_HEADER = """\
# Settings

Every setting, its default and its meaning. Set the environment variable, or put a line `NAME=value` into the file
named by `VIEWCOUNTER_ENV_FILE` (default `.local/env`), or a file with the lower-case name into the folder named by
`VIEWCOUNTER_SECRETS_DIR`; the first of these that names a setting wins. Times are in seconds and sizes in bytes unless
the name says otherwise; numbers must be positive where 0 is not mentioned. A process does not start with a bad value,
and names its variable.

This page is printed by `manage.py settings_reference`.
"""


def render_settings_reference() -> str:
    """Markdown: a table for each section of the settings, a row for each setting."""
    settings = list(list_settings(DevtoolsConfig))
    tables = [_render_table("Every process", [found for found in settings if len(found.path) == 1])]
    for field in dataclasses.fields(DevtoolsConfig):
        if "section" in field.metadata:
            title = (field.metadata["section"].__doc__ or "").split("\n")[0].rstrip(".")
            tables.append(_render_table(title, [found for found in settings if found.path[0] == field.name]))
    return _HEADER + "".join(tables)


def _render_table(title: str, rows: list[Setting]) -> str:
    head = f"\n## {title}\n\n| variable | default | meaning |\n| --- | --- | --- |\n"
    return head + "".join(_render_row(row) for row in rows)


def _render_row(setting: Setting) -> str:
    return f"| `{setting.variable}` | {_format_default(setting)} | {setting.field.metadata['description']} |\n"


def _format_default(setting: Setting) -> str:
    default: Any = setting.field.default
    if setting.is_required:
        return "required"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, tuple):
        default = ",".join(default)
    if default is None or not str(default):
        return "unset" if default is None else "empty"
    return f"`{str(default).removeprefix(f'{PROJECT_ROOT}/')}`"
