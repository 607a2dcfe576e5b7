"""A Valkey server: the durable one of the event log, or the one without persistence for broker and cache."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from devtools.localcluster.errors import NotReady
from devtools.localcluster.member import Member
from devtools.localcluster.ports import LOOPBACK
from devtools.localcluster.process import OWNER_VARIABLE, Launch
from devtools.localcluster.state import write_private

ANSWER_SECONDS = 1.0
LOG_ID_KEY, LOG_TERM_KEY = "log-id", "log-term"
"""Key of the event log's id; see viewcounter.eventlog."""


class ValkeyDurability(StrEnum):
    ALWAYS = "always"
    """Every write is on disk before it is acknowledged."""
    NEVER = "never"
    """Nothing survives a restart: the content can be recreated."""


class ValkeyServer(Member):
    """Valkey or Redis, depending on `server_program`; both have the same settings."""

    kind = "valkey"
    stop_signals = ((signal.SIGTERM, 15.0),)

    def __init__(
        self,
        *,
        server_program: Path,
        port: int,
        password: str,
        durability: ValkeyDurability,
        memory_bytes: int,
        **member: Any,
    ) -> None:
        super().__init__(**member)
        self.port = port
        self._server_program = server_program
        self._password = password
        self._durability = durability
        self._memory_bytes = memory_bytes
        self.extra_environment: dict[str, str] = {}
        """Of its next start."""

    @property
    def data_dir(self) -> Path:
        return self._state.data / self.name

    def describe_launch(self) -> Launch:
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        settings_file = self.data_dir / "valkey.conf"
        write_private(settings_file, self._build_settings())
        return Launch(
            argv=(str(self._server_program), str(settings_file)),
            cwd=self.data_dir,
            environment={"LC_ALL": "C", OWNER_VARIABLE: str(self._state.root), **self.extra_environment},
            death_signal=signal.SIGTERM,
        )

    def build_beside(self, name: str, *, port: int) -> "ValkeyServer":
        """Another server like this one, with a folder of its own."""
        return ValkeyServer(
            name=name,
            state=self._state,
            waiter=self._waiter,
            ready_seconds=self._ready_seconds,
            server_program=self._server_program,
            port=port,
            password=self._password,
            durability=self._durability,
            memory_bytes=self._memory_bytes,
        )

    def write_password(self, path: Path) -> None:
        write_private(path, self._password)

    def connect(self, *, database: int = 0) -> redis.Redis:
        """A client without retries: the caller decides whether to retry."""
        return redis.Redis(
            host=LOOPBACK,
            port=self.port,
            db=database,
            password=self._password,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    @contextmanager
    def session(self, *, database: int = 0) -> Iterator[redis.Redis]:
        """Like `connect`, but errors of the client inside the context are raised as NotReady."""
        try:
            with self.connect(database=database) as client:
                yield client
        except redis.RedisError as error:
            raise NotReady(f"{self.name}: {error}") from error

    def empty_log(self) -> None:
        """Delete every entry but keep the log's id, and begin another term. Raises NotReady."""
        with self.session() as client:
            log_id, term = client.mget(LOG_ID_KEY, LOG_TERM_KEY)
            with client.pipeline(transaction=True) as pipe:
                pipe.flushall(asynchronous=True)  # gigabytes would take longer than a client waits for
                if log_id is not None:
                    pipe.mset({LOG_ID_KEY: log_id, LOG_TERM_KEY: int(term or 0) + 1})
                pipe.execute()

    def find_obstacle(self) -> str | None:
        try:
            with self.connect() as client:
                client.ping()
        except redis.RedisError as error:
            return str(error)
        return None

    def _build_settings(self) -> str:
        append_only = self._durability is ValkeyDurability.ALWAYS
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            "protected-mode yes",
            f"requirepass {self._password}",
            f'dir "{self.data_dir}"',
            'logfile ""',
            "daemonize no",
            'save ""',
            f"appendonly {'yes' if append_only else 'no'}",
            "appendfsync always",
            "no-appendfsync-on-rewrite no",
            "aof-load-truncated yes",
            f"maxmemory {self._memory_bytes}",
            # An evicted entry would be a lost event; a refused write is a visible error. Without durability only keys
            # with an expiry may be evicted: answers and marks, never a task.
            f"maxmemory-policy {'noeviction' if append_only else 'volatile-lru'}",
        ]
        return "\n".join(lines) + "\n"
