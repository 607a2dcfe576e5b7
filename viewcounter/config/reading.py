"""Reading settings classes from environment variables, secret files and the `NAME=value` file.

One rule names every variable: `VIEWCOUNTER_`, then the path to the field in capitals. `pool.query.point_seconds` of the
process's settings is `VIEWCOUNTER_POOL_QUERY_POINT_SECONDS`. See decision 0027.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, cast

from dotenv import dotenv_values
from pydantic import Field, SecretStr, TypeAdapter, ValidationError

from runtime.errors import Permanent
from viewcounter.config.project import PROJECT_ROOT

logger = logging.getLogger(__name__)

T = TypeVar("T")

PREFIX = "VIEWCOUNTER"

NOT_SETTINGS = frozenset({"ENV_FILE", "SECRETS_DIR", "LOCALCLUSTER", "PYTHON", "SCRIPT"})
"""Variables with our prefix that are read before, or beside, the settings."""

NOT_SETTINGS_PREFIXES = ("LOCAL_", "REPLAY_", "TEST_", "SHARD_")
"""Of variables for the tools and for tests, and of those that hold the passwords of instances."""

FORMER_NAMES = ("SHARD_SSL",)
"""Beginnings of former settings that would pass for a password: certificates must not be dropped without a word."""


NO_FILES: Mapping[str, Path] = {}


class InvalidSettings(ValueError, Permanent):
    """Settings that no process starts with; each is named with its variable. The text holds no values."""


class Setting(NamedTuple):
    """`path` leads from the settings class to the field."""

    path: tuple[str, ...]
    field: "dataclasses.Field[Any]"

    @property
    def variable(self) -> str:
        return "_".join((PREFIX, *self.path)).upper()

    @property
    def is_required(self) -> bool:
        return self.field.default is dataclasses.MISSING

    def follows(self, files: Mapping[str, Path]) -> bool:
        """Whether its value comes from one of the files, and is read anew for each use."""
        return self.variable in files and bool(self.field.metadata.get("is_reread"))

    def read(self, text: str) -> Any:
        """The value that a text in the environment means. Raises ValueError, whose text does not quote it."""
        metadata = dict(self.field.metadata)
        metadata.pop("description")
        parse = metadata.pop("parse")
        metadata.pop("is_reread", None)
        checked: TypeAdapter[Any] = TypeAdapter(cast(Any, Annotated[self.field.type, Field(**metadata)]))
        try:
            return checked.validate_python(text if parse is None else parse(text))
        except ValidationError as error:
            raise ValueError(error.errors(include_input=False)[0]["msg"]) from None


def list_settings(settings: type[Any], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Every setting of a class and of its sections, in their order."""
    for field in dataclasses.fields(settings):
        here = (*path, field.name)
        if "section" in field.metadata:
            yield from list_settings(field.metadata["section"], here)
        elif "description" in field.metadata:
            yield Setting(here, field)


def read_settings(settings: type[T], variables: Mapping[str, str], files: Mapping[str, Path] = NO_FILES) -> T:
    """`settings` filled from `variables`; what they do not name has its default. Raises InvalidSettings.

    `files`: those that some of the variables come from; a setting that `is_reread` goes on following its file.
    """
    values: dict[tuple[str, ...], Any] = {}
    problems = []
    for found in list_settings(settings):
        text = variables.get(found.variable)
        if text is None:
            if found.is_required:
                problems.append(f"{found.variable} is required")
            continue
        try:
            value = found.read(text)
            values[found.path] = SecretFile(files[found.variable], text) if found.follows(files) else value
        except ValueError as error:
            problems.append(f"{found.variable}: {error}")
    if problems:
        raise InvalidSettings("; ".join(problems))
    return _build(settings, values, ())


def _build(settings: type[T], values: Mapping[tuple[str, ...], Any], path: tuple[str, ...]) -> T:
    given = {}
    for field in dataclasses.fields(cast(Any, settings)):
        here = (*path, field.name)
        if "section" in field.metadata:
            given[field.name] = _build(field.metadata["section"], values, here)
        else:
            source = field.metadata.get("same_as", here)
            if source in values:
                given[field.name] = values[source]
    return settings(**given)


def read_process_settings(settings: type[T]) -> T:
    """From the variables of this process and the files that they name. Raises InvalidSettings."""
    state_dir = os.environ.get("VIEWCOUNTER_STATE_DIR", str(PROJECT_ROOT / ".local"))
    env_file = os.environ.get("VIEWCOUNTER_ENV_FILE", str(Path(state_dir, "env")))
    in_file = {name: value for name, value in dotenv_values(env_file).items() if value is not None}
    files = _find_secrets(settings, os.environ.get("VIEWCOUNTER_SECRETS_DIR", ""))
    for overridden in files.keys() & {*in_file, *os.environ}:
        del files[overridden]
    secrets = {name: file.read_text().strip() for name, file in files.items()}
    config = read_settings(settings, {**secrets, **in_file, **os.environ}, files)
    for name in find_unknown_variables(settings, {*in_file, *os.environ}):
        logger.warning("%s is set and has no effect: there is no such setting (docs/operations/settings.md)", name)
    return config


def find_unknown_variables(settings: type[Any], names: Collection[str]) -> list[str]:
    """Those of `names` with our prefix that name no setting: misspelled, or of another release."""
    known = {found.variable for found in list_settings(settings)}
    prefix = f"{PREFIX}_"
    return sorted(
        name
        for name in names
        if name.startswith(prefix)
        and name not in known
        and name.removeprefix(prefix) not in NOT_SETTINGS
        and (
            name.removeprefix(prefix).startswith(FORMER_NAMES)
            or not name.removeprefix(prefix).startswith(NOT_SETTINGS_PREFIXES)
        )
    )


class SecretFile(SecretStr):
    """A secret whose file is read anew by each `get_secret_value`, so that changing it needs no restart.

    A file that is gone, or empty for a moment while somebody writes it, leaves the last value.
    """

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(text)
        self._path = path

    def get_secret_value(self) -> str:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            self._secret_value = self._path.read_text(encoding="utf-8").strip() or self._secret_value
        return self._secret_value


def _find_secrets(settings: type[Any], directory: str) -> dict[str, Path]:
    """By variable, whose name in lower case is that of the file. A file that leads out of the folder is ignored."""
    if not directory:
        return {}
    folder = Path(directory).expanduser().resolve()
    if not folder.is_dir():
        logger.warning("VIEWCOUNTER_SECRETS_DIR: there is no folder %s", directory)
        return {}
    variables = {found.variable for found in list_settings(settings)}
    return {
        file.name.upper(): file
        for file in folder.iterdir()
        if file.name.upper() in variables and file.is_file() and file.resolve().is_relative_to(folder)
    }
