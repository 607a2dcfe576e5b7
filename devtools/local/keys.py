"""The API keys of a local cluster: one to try it out, one for `bin/status`.

They are stored in the state folder, readable by its owner only, so that each start prints the same key.
"""

from datetime import datetime
from pathlib import Path

from devtools.localcluster.spec import STATUS_KEY, TRYOUT_KEY
from devtools.localcluster.state import StateFolder, write_private
from viewcounter.apikeys.authentication import is_valid
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import Scope

_KEYS = {
    TRYOUT_KEY: ("bin/up, for trying out", (Scope.EVENTS_WRITE, Scope.STATS_READ)),
    STATUS_KEY: ("bin/status", (Scope.ADMIN,)),
}


def ensure_local_keys(state_dir: Path, *, now: datetime) -> None:
    """Create the keys that are missing, revoked, expired, or of another control database."""
    state = StateFolder(state_dir)
    for file_name, (name, scopes) in _KEYS.items():
        token = state.find_secret(file_name)
        if token is None or not is_valid(token, now=now):
            _, token = create_key(name, scopes)
            write_private(state.get_secret_path(file_name), f"{token}\n")
