"""Rules for password references.

Without them, a user who may set a reference could send any file or variable of our processes to a server of their own.
Pure, except that symbolic links are resolved.
"""

from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Permanent
from runtime.settings import setting

DEFAULT_ENV_PREFIX = "VIEWCOUNTER_SHARD_"


class PasswordRefNotAllowed(ValueError, Permanent):
    """A password reference names a file outside VIEWCOUNTER_POOL_PASSWORD_REFS_DIRECTORY, or a variable without the
    prefix of VIEWCOUNTER_POOL_PASSWORD_REFS_ENV_PREFIX."""


def check_env_prefix(prefix: str) -> str:
    """The prefix itself, for where settings are read. Raises ValueError for one that secrets of ours begin with."""
    if not prefix or "VIEWCOUNTER_SECRET_KEY".startswith(prefix):
        raise ValueError("it must not be the beginning of VIEWCOUNTER_SECRET_KEY: a topology could name that")
    return prefix


@dataclass(frozen=True, slots=True)
class PasswordRefRules:
    """Password references in the topology. Without a `directory`, no `file:` reference is allowed."""

    directory: Path | None = setting(
        None, "Folder below which file:/path in a password reference must lie; unset: no file is read."
    )
    env_prefix: str = setting(
        DEFAULT_ENV_PREFIX, "Prefix that NAME must have in a password reference env:NAME.", parse=check_env_prefix
    )

    def check(self, password_ref: str) -> None:
        """Checks the rules only; the password need not exist on this machine. Raises PasswordRefNotAllowed."""
        kind, _, place = password_ref.partition(":")
        if kind == "env":
            self.check_variable(place)
        elif kind == "file":
            self.find_file(place)
        else:
            raise PasswordRefNotAllowed("the password reference starts with neither `env:` nor `file:`")

    def check_variable(self, name: str) -> None:
        """Raises PasswordRefNotAllowed."""
        if not name.startswith(self.env_prefix):
            raise PasswordRefNotAllowed(
                f"env:{name} does not begin with {self.env_prefix} (VIEWCOUNTER_POOL_PASSWORD_REFS_ENV_PREFIX)"
            )

    def find_file(self, place: str) -> Path:
        """The file with all symbolic links resolved. Raises PasswordRefNotAllowed."""
        path = Path(place)
        if self.directory is None:
            raise PasswordRefNotAllowed(f"file:{place}: VIEWCOUNTER_POOL_PASSWORD_REFS_DIRECTORY is not set")
        if not path.is_absolute() or ".." in path.parts:
            raise PasswordRefNotAllowed(f"file:{place} is not an absolute path without `..`")
        try:
            found, directory = path.resolve(), self.directory.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise PasswordRefNotAllowed(f"file:{place} cannot be resolved: {error}") from error
        if not found.is_relative_to(directory) or found == directory:
            raise PasswordRefNotAllowed(
                f"file:{place} is not in {self.directory} (VIEWCOUNTER_POOL_PASSWORD_REFS_DIRECTORY)"
            )
        return found
