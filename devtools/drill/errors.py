"""What stops a drill before its verdict; each docstring is the operator's message. A broken promise is none of them."""


class DrillError(Exception):
    """The drill has no verdict. Permanent unless a subclass says otherwise."""


class BadDrillOption(DrillError):
    """An option that leaves nothing to do, or a fault that nobody knows. The message names it."""


class SettleFailed(DrillError):
    """Retryable. Clients were told to stop, and some of their posts were never acknowledged."""


class NoVictim(DrillError):
    """Retryable. What a fault wants to hurt does not run at the moment."""
