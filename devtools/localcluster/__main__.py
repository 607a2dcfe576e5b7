"""`python -m devtools.localcluster STATE_DIR`: secrets, ports and `env` of a cluster that this release never started.

The scripts in `bin/` run this first, since `manage.py` needs settings to start.
"""

import os
import sys
from pathlib import Path

from devtools.localcluster.environment import NETWORK_NAMES, build_environment, write_environment
from devtools.localcluster.ports import assign_ports
from devtools.localcluster.state import StateFolder


def main(state_dir: Path) -> None:
    state = StateFolder(state_dir)
    state.create()
    ports = assign_ports(state, NETWORK_NAMES, replace_taken=False)
    environment = build_environment(state, ports=ports, outer=os.environ)
    if environment.settings["VIEWCOUNTER_SECRET_KEY"] not in _read_environment(state):
        write_environment(state, environment.settings)


def _read_environment(state: StateFolder) -> str:
    try:
        return state.environment_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
