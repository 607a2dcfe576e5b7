"""The processes of viewcounter itself, each started as an operator would start it."""

import http.client
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from devtools.localcluster.member import Member
from devtools.localcluster.process import OWNER_VARIABLE, Launch

PROJECT_ROOT = Path(__file__).resolve().parents[2]
ANSWER_SECONDS = 2.0
_CELERY = ("-m", "celery", "--app", "viewcounter.celery:app")


class Application(Member):
    """A process of viewcounter. `settings`: the VIEWCOUNTER_* settings of this cluster."""

    kind = "application"
    stop_signals = ((signal.SIGTERM, 20.0),)

    def __init__(self, *, arguments: tuple[str, ...], environment: Mapping[str, str], **member: Any) -> None:
        super().__init__(**member)
        self._arguments = arguments
        self._environment = dict(environment)
        self.project_root = PROJECT_ROOT
        """Of the release that its next start runs."""

    def describe_launch(self) -> Launch:
        return Launch(
            argv=(sys.executable, *self._arguments),
            cwd=self.project_root,
            environment=self._environment | {"PYTHONUNBUFFERED": "1", OWNER_VARIABLE: str(self._state.root)},
            death_signal=signal.SIGTERM,
        )

    def find_obstacle(self) -> str | None:
        return None if self.is_running else "the process does not run"


class HttpApplication(Application):
    """Ready when `GET /healthz` answers 200 at the address in the setting `bind`."""

    def __init__(self, *, bind: str, **application: Any) -> None:
        super().__init__(**application)
        self._address = urlsplit(f"//{self._environment[bind]}")

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://{self._address.netloc}"

    def find_obstacle(self) -> str | None:
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=ANSWER_SECONDS
        )
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"GET /healthz: {error}"
        finally:
            connection.close()
        return None if status == http.client.OK else f"GET /healthz answers {status}"


class Web(HttpApplication):
    """gunicorn."""

    def __init__(self, *, workers: int, **application: Any) -> None:
        super().__init__(
            bind="VIEWCOUNTER_WEB_BIND",
            arguments=(
                "-m", "gunicorn", "--config", "viewcounter/web/gunicorn_conf.py", "--workers", str(workers),
                "viewcounter.web.asgi:application",
            ),
            **application,
        )  # fmt: skip


class AnnouncedApplication(Application):
    """Ready when it has logged so since its start."""

    announcement: str

    def __init__(self, **application: Any) -> None:
        super().__init__(**application)
        self._log_offset = 0
        self._has_said_ready = False

    def describe_launch(self) -> Launch:
        self._log_offset = self._get_log_size()
        self._has_said_ready = False
        return super().describe_launch()

    def find_obstacle(self) -> str | None:
        if not self.is_running:
            return "the process does not run"
        if not self._has_said_ready:
            with self._state.get_log_path(self.name).open("rb") as log:
                log.seek(self._log_offset)
                self._has_said_ready = self.announcement.encode() in log.read()
        return None if self._has_said_ready else "the process has not logged that it is ready"

    def _get_log_size(self) -> int:
        try:
            return self._state.get_log_path(self.name).stat().st_size
        except FileNotFoundError:
            return 0


class Worker(AnnouncedApplication):
    """Celery's worker.

    Its log is read because `celery inspect ping` would start a Python process, which takes 1.5 s each time.
    """

    _NODE = "worker@local"
    announcement = f"{_NODE} ready"

    def __init__(self, *, processes: int, **application: Any) -> None:
        super().__init__(
            arguments=(
                *_CELERY, "worker", "--hostname", self._NODE,
                "--pool", "prefork", "--concurrency", str(processes), "--prefetch-multiplier", "1",
                # they tell workers of each other, which nothing here reads; mingle waits a second at each start
                "--without-gossip", "--without-mingle", "--without-heartbeat",
            ),
            **application,
        )  # fmt: skip


class Daemon(HttpApplication):
    """A daemon of `manage.py` that answers `/healthz` at `address`, which it gets by the setting `bind`.

    The setting differs between processes: several of one kind share this machine.
    """

    def __init__(
        self, *, command: str, bind: str, address: str, environment: Mapping[str, str], **application: Any
    ) -> None:
        super().__init__(
            bind=bind,
            arguments=("manage.py", command),
            environment={**environment, bind: address},
            **application,
        )


class ShardProxy(HttpApplication):
    """One shard proxy for all instances of this machine."""

    def __init__(self, **application: Any) -> None:
        super().__init__(
            bind="VIEWCOUNTER_SHARDPROXY_METRICS_BIND",
            arguments=("manage.py", "run_shardproxy", "--all"),
            **application,
        )


class Beat(Application):
    """Celery's scheduler; ready when it runs. One of several sends tasks, see `viewcounter.beat`."""

    def __init__(self, **application: Any) -> None:
        super().__init__(arguments=(*_CELERY, "beat", "--pidfile", ""), **application)


def build_child_environment(settings: Mapping[str, str], *, outer: Mapping[str, str], env_file: Path) -> dict[str, str]:
    """The environment of a child process. It inherits only those of our own settings that are in `outer`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VIEWCOUNTER_")}
    ours = {name: value for name, value in outer.items() if name.startswith("VIEWCOUNTER_")}
    return inherited | ours | dict(settings) | {"VIEWCOUNTER_ENV_FILE": str(env_file)}
