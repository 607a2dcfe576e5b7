"""Which run of a log server calls belong to: a server that was started again may have come back with older data."""

from typing import Any

from runtime.valkey import ValkeyClient
from viewcounter.eventlog.redis_scripts import build_append


class ServerRun:
    """A run of the server, and its append script.

    The script names the run and is loaded into the server, which forgets all scripts when it stops. So the script of an
    earlier run fails, at no cost to the calls of this one.
    """

    def __init__(self, run_id: str, sha: str) -> None:
        self.run_id = run_id
        self.sha = sha

    @classmethod
    def load(cls, client: ValkeyClient) -> "ServerRun | None":
        """None if the server was started again meanwhile. Raises ValkeyError."""
        run_id = _read_run_id(client)
        sha: Any = client.script_load(build_append(run_id))
        if _read_run_id(client) != run_id:
            return None
        return cls(run_id, sha)


def _read_run_id(client: ValkeyClient) -> str:
    info: Any = client.info("server")
    return str(info["run_id"])
