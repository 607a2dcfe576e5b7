"""The key with which the config services of a local cluster sign topologies."""

from pathlib import Path

from configservice.topology.signing import make_signing_key, read_signing_key
from devtools.localcluster.state import StateFolder, write_first

SETTING = "VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE"
_NAME = "topology_signing_key"


def get_signing_key_path(state: StateFolder) -> Path:
    """Path of the private key, which is created at the first call."""
    path = state.get_secret_path(_NAME)
    if not path.exists():
        write_first(path, make_signing_key().strip())
    return path


def get_public_key(state: StateFolder) -> str:
    return read_signing_key(get_signing_key_path(state)).public
