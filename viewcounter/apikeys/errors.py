"""What can go wrong with an API key; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class InvalidKey(Exception, Permanent):
    """The API key is malformed, unknown, expired or revoked. The client is never told which."""


class UnknownKey(Exception, Permanent):
    """No valid API key has this prefix: it never existed, has expired or was revoked."""


class KeysUnavailable(Exception, Retryable):
    """The control database did not answer and this process has not cached the API key."""
