"""A whole cluster on one machine, for development and tests: from an empty folder to ready, and down again.

Responsible for finding the server programs, creating databases and secrets, starting, supervising and stopping every
process, and for leaving no process behind, whichever of them is killed. Used by `bin/up` and, as a Python API with
faults, by tests, drills and benchmarks. Never imports Django or the service: it runs `manage.py` and the web, worker,
beat and shard proxy programs as an operator would. Never used in production.
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
    """Lazy imports: `bin/status` only reads the files of a cluster and needs none of the modules that start one."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
