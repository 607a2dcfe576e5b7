"""Members of the control database under Patroni: each is a Patroni process and the PostgreSQL server that it runs.

Patroni keeps its state in a raft log of its own members, so nothing else has to run. It writes the configuration of the
servers, creates them and promotes them. It starts PostgreSQL in a session of its own, so the server is found by the pid
file in its data directory.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import msgspec
import psutil
import psycopg

from devtools.localcluster.account import Account, can_run, give
from devtools.localcluster.errors import StateUnusable
from devtools.localcluster.placement import Placement
from devtools.localcluster.ports import LOOPBACK
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.postgres_settings import build_parameters
from devtools.localcluster.postmaster import find_postmaster
from devtools.localcluster.process import Launch, find_tree
from devtools.localcluster.spec import CONTROL_DATABASE, CONTROL_SERVER, REPLICATION_ROLE, SUPERUSER_ROLE
from devtools.localcluster.state import PRIVATE_DIR, write_private

TTL_SECONDS = 20
"""Age of a frozen leader's lock at which another member takes over; Patroni accepts no less."""
LOOP_SECONDS = 2
RETRY_SECONDS = 3
ASK_SECONDS = 2.0
_SYSTEM_PYTHON = "/usr/bin/python3"
_NEEDED = "import patroni, pysyncobj, psycopg"
_OF_PATRONI = frozenset({"cluster_name", "listen_addresses", "port", "hot_standby", "wal_level", "max_connections"})
"""Parameters that Patroni sets itself."""

Ports = Mapping[str, int]


def get_member_names(replicas: int) -> tuple[str, ...]:
    return tuple(f"{CONTROL_SERVER}{number}" for number in range(1, replicas + 2))


def choose_members(placement: Placement, *, wanted: int) -> tuple[str, ...]:
    """Names of the members with `wanted` replicas; none for a control database without Patroni.

    The first start of a cluster decides. Raises StateUnusable for another wish later: the data would be left behind.
    """
    found = tuple(sorted(folder.name for folder in placement.data_root.glob(f"{CONTROL_SERVER}[0-9]")))
    if found and wanted in (0, len(found) - 1):
        return found
    if found or (wanted and (placement.data_root / CONTROL_SERVER).exists()):
        raise StateUnusable(
            f"this control database was made with {max(0, len(found) - 1)} replicas, not {wanted}: start "
            "it as it is, or delete the cluster with bin/down --purge"
        )
    return get_member_names(wanted) if wanted else ()


def get_port_names(member: str) -> tuple[str, str, str]:
    """Of PostgreSQL, of Patroni's REST interface, and of its raft log."""
    return member, f"{member}-rest", f"{member}-raft"


class PatroniServer(PostgresServer):
    """One member. `names`: all members of the cluster, of which each has three `ports`."""

    kind = "patroni"
    stop_signals = ((signal.SIGTERM, 30.0),)

    def __init__(self, *, names: Sequence[str], ports: Ports, **server: Any) -> None:
        super().__init__(port=ports[server["name"]], database=CONTROL_DATABASE, find_upstream=lambda: None, **server)
        self._names = names
        self._ports = ports

    @property
    def is_primary(self) -> bool:
        return self.exists and not self.is_replica

    def describe_launch(self) -> Launch:
        python = find_python(self.placement.account)
        file = self._write_configuration()
        return Launch(
            argv=(*python, "-m", "patroni", str(file)),
            cwd=self._folder,
            environment=self.environment | {"HOME": str(self._folder), "PYTHONPATH": os.pathsep.join(_find_packages())},
            death_signal=signal.SIGTERM,
            account=self.placement.account,
        )

    def find_obstacle(self) -> str | None:
        """A primary is the leader; a replica may become it: with it, the leader commits."""
        try:
            with self.connect(user=SUPERUSER_ROLE, database="postgres") as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            return str(error).strip()
        for path in ("primary", "quorum"):
            try:
                with urlopen(f"http://{self._rest_address}/{path}", timeout=ASK_SECONDS):
                    return None
            except HTTPError as error:
                obstacle = f"it is neither the leader nor a replica that may become it: {error}"
            except OSError as error:
                obstacle = f"Patroni does not answer: {error}"
        return obstacle

    def find_processes(self, pid: int) -> list[psutil.Process]:
        server = self.find_server()
        known = {process.pid for process in server}
        return [process for process in find_tree(pid) if process.pid not in known] + server

    def _kill_and_reap(self, tree: list[psutil.Process]) -> None:
        """Also a server that has outlived its Patroni."""
        super()._kill_and_reap([*tree, *self.find_server()])

    def find_server(self) -> list[psutil.Process]:
        """PostgreSQL alone, without Patroni."""
        postmaster = find_postmaster(self.data_dir)
        return [] if postmaster is None else find_tree(postmaster.pid)

    @property
    def data_dir(self) -> Path:
        return self._folder / "data"  # made by Patroni, and moved away by it when it is not fit to be rewound

    @property
    def _folder(self) -> Path:
        """Configuration, raft log, passwords and data of the member."""
        return self.placement.data_root / self.name

    def _write_configuration(self) -> Path:
        folder = self._folder
        folder.mkdir(mode=PRIVATE_DIR, exist_ok=True)
        file = folder / "patroni.json"  # which is YAML, too
        write_private(file, msgspec.json.format(msgspec.json.encode(self._build_configuration())).decode())
        for path in (folder, file):
            give(path, self.placement.account)
        return file

    def _build_configuration(self) -> dict[str, Any]:
        programs, address = self.placement.programs, self._rest_address
        parameters = build_parameters(
            name=self.name,
            port=self.port,
            major=programs.major,
            has_statement_statistics=programs.has_statement_statistics,
        )
        locale = ["--locale-provider=builtin", "--locale=C.UTF-8"] if programs.major >= 17 else ["--no-locale"]
        initdb = [*locale, "--encoding=UTF8", "--data-checksums", "--no-sync"]
        return {
            "scope": CONTROL_DATABASE,
            "name": self.name,
            "restapi": {
                "listen": address,
                "connect_address": address,
                "authentication": {"username": "patroni", "password": self._state.get_secret("patroni_password")},
            },
            "raft": {
                "data_dir": str(self._folder / "raft"),
                "self_addr": self._get_raft_address(self.name),
                "partner_addrs": [self._get_raft_address(name) for name in self._names if name != self.name],
                "password": self._state.get_secret("raft_password"),
            },
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_SECONDS,
                    "loop_wait": LOOP_SECONDS,
                    "retry_timeout": RETRY_SECONDS,
                    "primary_start_timeout": 0,
                    "synchronous_mode": "quorum",
                    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": {"max_connections": 100}},
                },
                "initdb": [_build_option(option.removeprefix("--")) for option in initdb],
            },
            "postgresql": {
                "listen": f"{LOOPBACK}:{self.port}",
                "connect_address": f"{LOOPBACK}:{self.port}",
                "data_dir": str(self.data_dir),
                "bin_dir": str(programs.bin_dir),
                "pgpass": str(self._folder / "pgpass"),
                "authentication": {
                    "superuser": {
                        "username": SUPERUSER_ROLE,
                        "password": self._state.get_secret("postgres_password"),
                    },
                    "replication": {
                        "username": REPLICATION_ROLE,
                        "password": self._state.get_secret("replication_password"),
                    },
                },
                "pg_hba": [
                    f"host all all {LOOPBACK}/32 scram-sha-256",
                    f"host replication {REPLICATION_ROLE} {LOOPBACK}/32 scram-sha-256",
                ],
                "parameters": {name: value for name, value in parameters.items() if name not in _OF_PATRONI},
            },
        }

    @property
    def _rest_address(self) -> str:
        return f"{LOOPBACK}:{self._ports[f'{self.name}-rest']}"

    def _get_raft_address(self, name: str) -> str:
        return f"{LOOPBACK}:{self._ports[f'{name}-raft']}"


@cache
def find_python(account: Account | None) -> tuple[str, ...]:
    """The command of a Python that `account` can run and that finds Patroni.

    Patroni starts PostgreSQL through another Python process; one that the account cannot run would hang without a word.
    Raises StateUnusable.
    """
    for python in ((sys.executable,), (_SYSTEM_PYTHON, "-S")):
        # -S keeps packages of the operating system out, which may be older
        command = ["/usr/bin/env", f"PYTHONPATH={os.pathsep.join(_find_packages())}", *python, "-c", _NEEDED]
        if Path(python[0]).exists() and can_run(command, account):
            return python
    if not can_run([sys.executable, "-c", _NEEDED], None):
        raise StateUnusable(
            "replicas of the control database need Patroni: install the packages of requirements-patroni.lock"
        )
    raise StateUnusable(
        f"the account {account.name if account else ''} can run neither {sys.executable} nor {_SYSTEM_PYTHON} with the "
        "packages of this environment: put the project into a folder that it can read"
    )


def _build_option(option: str) -> dict[str, str] | str:
    name, separator, value = option.partition("=")
    return {name: value} if separator else name


def _find_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]
