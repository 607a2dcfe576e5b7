"""One more web process beside a running cluster, with settings of its own: an admin process, a production gateway."""

from collections.abc import Iterator
from contextlib import contextmanager

from devtools.localcluster.applications import Web
from devtools.localcluster.cluster import LocalCluster
from devtools.localcluster.ports import LOOPBACK, assign_ports
from devtools.localcluster.waiting import Waiter


@contextmanager
def run_web_beside(cluster: LocalCluster, name: str, *, ready_seconds: float, **settings: str) -> Iterator[Web]:
    """A gunicorn with one worker, ready; `settings` by their names without the prefix `VIEWCOUNTER_`.

    Stopped at the end. Raises NotReady.
    """
    port = assign_ports(cluster.state, [name], replace_taken=False)[name]
    given = {f"VIEWCOUNTER_{key.upper()}": value for key, value in settings.items()}
    environment = cluster.environment | given | {"VIEWCOUNTER_WEB_BIND": f"{LOOPBACK}:{port}"}
    web = Web(
        workers=1,
        name=name,
        environment=environment,
        state=cluster.state,
        waiter=Waiter(),
        ready_seconds=ready_seconds,
    )
    web.start()
    try:
        web.wait_ready()
        yield web
    finally:
        web.stop()
