"""One real Valkey server as the event log, which a test may kill, freeze, empty and start again."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from devtools.localcluster.binaries import find_valkey_server
from devtools.localcluster.process import Launch, start
from tests.pace import limit
from tests.waiting import wait_while


class LogServer:
    """Invariant: at most one process, always on the same port and folder."""

    def __init__(self, folder: Path, *, options: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._options = options
        self.port = _find_free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [str(find_valkey_server(None)), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        command += ["--maxmemory-policy", "noeviction", *self._options]
        launch = Launch(tuple(command), cwd=self._folder, environment=os.environ, death_signal=signal.SIGKILL)
        self._process = start(launch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait_until_ready()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        """Lose the disk. The server must be down."""
        assert self._process is None
        shutil.rmtree(self._folder)

    def copy(self) -> Path:
        """A copy of the disk as it is now; of a running server too, which has synced what it has acknowledged."""
        folder = self._folder.with_name(f"{self._folder.name}.copy")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._folder, folder)
        return folder

    def restore(self, copy: Path) -> None:
        """The disk as it was when `copy` was made. The server must be down."""
        self.empty()
        shutil.copytree(copy, self._folder)

    def connect(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=limit(5), retry=Retry(NoBackoff(), 0))

    def _wait_until_ready(self) -> None:
        with self.connect() as client:

            def find_obstacle() -> redis.RedisError | None:
                try:
                    client.ping()
                except redis.RedisError as error:
                    return error
                return None

            wait_while(find_obstacle, what="the log server to answer")


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
