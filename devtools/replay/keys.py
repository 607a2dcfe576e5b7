"""The key a run uses when it is given none."""

from datetime import datetime, timedelta

from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import Scope


def create_replay_key(*, now: datetime, valid_seconds: float) -> str:
    """A token for one run. It needs the control database, so it works on the machine of the cluster only."""
    _, token = create_key(
        "replay",
        [Scope.EVENTS_WRITE, Scope.STATS_READ, Scope.ADMIN],
        expires_at=now + timedelta(seconds=valid_seconds),
    )
    return token
