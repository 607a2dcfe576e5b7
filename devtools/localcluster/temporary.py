"""A cluster for one test run, in a folder that is deleted at the end."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devtools.localcluster.cluster import LocalCluster
from devtools.localcluster.control import purge, stop_cluster
from devtools.localcluster.layout import Reach, reach_directly
from devtools.localcluster.spec import ClusterSpec
from devtools.localcluster.state import StateFolder

STOP_SECONDS = 60.0


@contextmanager
def run_temporary_cluster(
    *,
    spec: ClusterSpec | None = None,
    settings: Mapping[str, str] | None = None,
    report: Callable[[str], None] | None = None,
    reach: Reach = reach_directly,
) -> Iterator[LocalCluster]:
    """Yields a cluster that is not started yet; its applications get these `VIEWCOUNTER_*` settings. Its processes,
    data and secrets are removed afterwards, also after an error."""
    with (
        create_temporary_state_dir() as state_dir,
        LocalCluster(state_dir, spec=spec, outer=settings, report=report, reach=reach) as cluster,
    ):
        try:
            yield cluster
        finally:
            cluster.discard()


@contextmanager
def create_temporary_state_dir() -> Iterator[Path]:
    """The path of a state folder that does not exist yet and that PostgreSQL's account can reach."""
    parent = Path(tempfile.mkdtemp(prefix="viewcounter-"))
    try:
        parent.chmod(0o711)
        yield parent / ".local"
    finally:
        state = StateFolder(parent / ".local")
        stop_cluster(state, within_seconds=STOP_SECONDS)
        purge(state)
        shutil.rmtree(parent)
