"""What can go wrong with an API key; each docstring is the operator's message."""

from enum import StrEnum
from pathlib import Path

from runtime.errors import Permanent, Retryable

KEYS_UNAVAILABLE_DETAIL = (
    "The API key cannot be checked right now: the control database does not answer, and this server has no copy of it."
)


class InvalidKey(Exception, Permanent):
    """The API key is malformed, unknown, expired or revoked. The client is never told which."""


class UnknownKey(Exception, Permanent):
    """No valid API key has this prefix: it never existed, has expired or was revoked."""


class KeysUnavailable(Exception, Retryable):
    """The control database did not answer, and neither this process nor the file of its host has the API key."""


class AdminUnconfirmed(Exception, Retryable):
    """The control database has not confirmed the API key for so long that its scope `admin` is no longer accepted."""


class ControlDatabaseEmpty(Exception, Retryable):
    """The control database has tables but no cluster: it is new, or is being rebuilt. That it has no API key says
    nothing about known ones."""


class KeyFileRefusal(StrEnum):
    """Why a file of API keys is not used."""

    OWNER = "owner"
    MODE = "mode"
    MAC = "mac"
    OTHER_CLUSTER = "other_cluster"
    UNREADABLE = "unreadable"


_REFUSALS = {
    KeyFileRefusal.OWNER: "it belongs to another user or is no regular file",
    KeyFileRefusal.MODE: "others than its owner may read or write it; its mode must be 0600",
    KeyFileRefusal.MAC: "its MAC is wrong: it was changed, or written under another VIEWCOUNTER_SECRET_KEY",
    KeyFileRefusal.OTHER_CLUSTER: "it holds the keys of another cluster",
    KeyFileRefusal.UNREADABLE: "it cannot be read, or another release has written it",
}


class KeyFileRefused(Exception, Permanent):
    """The file of API keys is not used, as if there were none. It is replaced when the control database answers."""

    def __init__(self, path: Path, reason: KeyFileRefusal) -> None:
        super().__init__(f"{path} is not used: {_REFUSALS[reason]}")
        self.reason = reason


class NoKeyFile(Exception, Permanent):
    """A file of API keys that a command was given does not exist."""
