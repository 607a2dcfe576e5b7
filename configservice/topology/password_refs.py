"""Rules for password references.

Without them, a user who may set a reference could send any file or variable of our processes to a server of their own.
Pure, except that symbolic links are resolved.
"""

from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Permanent

DEFAULT_ENV_PREFIX = "VIEWCOUNTER_SHARD_"


class PasswordRefNotAllowed(ValueError, Permanent):
    """A password reference names a file outside VIEWCOUNTER_PASSWORD_REF_DIR, or a variable without the prefix of
    VIEWCOUNTER_PASSWORD_REF_ENV_PREFIX."""


@dataclass(frozen=True, slots=True)
class PasswordRefRules:
    """Without a `directory`, no `file:` reference is allowed."""

    directory: Path | None = None
    env_prefix: str = DEFAULT_ENV_PREFIX

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
                f"env:{name} does not begin with {self.env_prefix} (VIEWCOUNTER_PASSWORD_REF_ENV_PREFIX)"
            )

    def find_file(self, place: str) -> Path:
        """The file with all symbolic links resolved. Raises PasswordRefNotAllowed."""
        path = Path(place)
        if self.directory is None:
            raise PasswordRefNotAllowed(f"file:{place}: VIEWCOUNTER_PASSWORD_REF_DIR is not set")
        if not path.is_absolute() or ".." in path.parts:
            raise PasswordRefNotAllowed(f"file:{place} is not an absolute path without `..`")
        try:
            found, directory = path.resolve(), self.directory.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise PasswordRefNotAllowed(f"file:{place} cannot be resolved: {error}") from error
        if not found.is_relative_to(directory) or found == directory:
            raise PasswordRefNotAllowed(f"file:{place} is not in {self.directory} (VIEWCOUNTER_PASSWORD_REF_DIR)")
        return found


def check_env_prefix(prefix: str) -> str:
    """Returns the prefix; a validator for settings. Raises ValueError for a prefix of one of our secrets' names."""
    if not prefix or "VIEWCOUNTER_SECRET_KEY".startswith(prefix):
        raise ValueError("it must not be a prefix of VIEWCOUNTER_SECRET_KEY: a topology could name that secret")
    return prefix
