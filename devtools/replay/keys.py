"""The API key of a run for which none is given."""

from datetime import datetime, timedelta

from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import Scope


def create_replay_key(*, now: datetime, valid_seconds: float) -> str:
    """Create an API key for one run; returns its token. Needs the control database of the cluster."""
    _, token = create_key(
        "replay",
        [Scope.EVENTS_WRITE, Scope.STATS_READ, Scope.ADMIN],
        expires_at=now + timedelta(seconds=valid_seconds),
    )
    return token
