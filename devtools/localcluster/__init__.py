"""The servers and processes of one viewcounter on one machine: from an empty folder to ready, and down again.

Responsible for finding the programs, creating databases and secrets, starting, watching, restarting and
stopping every process, and for leaving nothing behind, whoever is killed and how. Used by `bin/up` and, as a
Python API with faults to inject, by the tests. Knows no Django and nothing of counting: it runs `manage.py`
and the web, worker, beat and shard proxy programs as any operator would. Production runs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devtools.localcluster.cluster import LocalCluster
    from devtools.localcluster.spec import ClusterSpec
    from devtools.localcluster.temporary import run_temporary_cluster

__all__ = ["ClusterSpec", "LocalCluster", "run_temporary_cluster"]

_MODULES = {
    "ClusterSpec": "devtools.localcluster.spec",
    "LocalCluster": "devtools.localcluster.cluster",
    "run_temporary_cluster": "devtools.localcluster.temporary",
}


def __getattr__(name: str) -> Any:
    """Loaded when it is first used: `bin/status` reads files of a cluster, and needs none of what starts one."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
