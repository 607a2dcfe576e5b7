"""The log server loses what it has acknowledged. What the service cannot know, the drill does as an operator would."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from devtools.drill.context import FaultContext
from devtools.drill.errors import NoVictim
from devtools.drill.faults.lagging import follow_through
from devtools.drill.tcp_proxy import TcpProxy
from devtools.localcluster.errors import ProgramFailed
from devtools.localcluster.postgres import PostgresServer, find_primary
from devtools.localcluster.spec import LOG_SERVER
from devtools.localcluster.valkey import ValkeyServer

COPY_AGE_SECONDS = 8.0
"""The load goes on for so long after the copy was made."""
BEHIND_SECONDS = 4.0
COPY_ATTEMPTS = 5
PROMOTED_SECONDS = 60.0
ACCEPTED_SECONDS = 60.0
COMPILER = "cc"
STEP_SECONDS = 10 * 86400
_CLOCK_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long step(void) { const char *text = getenv("CLOCK_STEP_SECONDS"); return text ? atol(text) : 0; }
int gettimeofday(struct timeval *at, void *zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int status = real(at, zone);
    if (!status) at->tv_sec += step();
    return status;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, at);
    if (!status && clock == CLOCK_REALTIME) at->tv_sec += step();
    return status;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class _LogFault:
    def __init__(self, context: FaultContext, rng: Random) -> None:
        self._context = context
        self._rng = rng
        self.victim = LOG_SERVER
        self.shard: str | None = None

    @property
    def _server(self) -> ValkeyServer:
        return self._context.cluster.valkey(LOG_SERVER)

    def _replace_disk(self, change: Callable[[Path], None]) -> None:
        """`change` gets the folder of the server while the server is down."""
        server = self._server
        server.kill()
        try:
            change(server.data_dir)
        finally:
            server.start()
        server.wait_ready()

    def _accept_loss(self) -> None:
        """The operator of a log that is gone for good, who tries again while a shard does not answer."""

        def find_obstacle() -> str | None:
            try:
                self._context.cluster.run_command("accept_log_loss", "--reason", "the drill removed its disk", "--yes")
            except ProgramFailed as error:
                return str(error)
            return None

        self._context.await_none(find_obstacle, what="the loss of the log to be accepted", seconds=ACCEPTED_SECONDS)

    def _await_log(self) -> None:
        server = self._server
        self._context.await_none(lambda: self._context.find_obstacle_of_member(server), what=self.victim)


class LostDisk(_LogFault):
    """The only log server is killed with its disk, and a new one starts in its place."""

    def strike(self) -> None:
        self._replace_disk(shutil.rmtree)

    def heal(self) -> None:
        self._accept_loss()
        self._await_log()


class RestoredCopy(_LogFault):
    """The log server comes back with the disk of some seconds before. Nobody does anything."""

    def strike(self) -> None:
        copy = self._server.data_dir.with_name(f"{LOG_SERVER}.copy")
        _copy(self._server.data_dir, copy)
        time.sleep(COPY_AGE_SECONDS)

        def put_back(folder: Path) -> None:
            shutil.rmtree(folder)
            copy.rename(folder)

        self._replace_disk(put_back)

    def heal(self) -> None:
        self._await_log()


class OldLogReturns(_LogFault):
    """The log server is given up and replaced; then the old one comes back at another address, and is salvaged."""

    def strike(self) -> None:
        older = self._context.cluster.build_valkey_beside(LOG_SERVER)
        self._older = older

        def put_aside(folder: Path) -> None:
            folder.rename(older.data_dir)

        self._replace_disk(put_aside)
        self._accept_loss()

    def heal(self) -> None:
        older = self._older
        older.start()
        try:
            older.wait_ready()
            password_file = older.data_dir / "salvage.password"
            older.write_password(password_file)
            self._context.cluster.run_command(
                "salvage_log", "--from", f"redis://127.0.0.1:{older.port}/0", "--password-file", str(password_file),
                "--whole", "--yes", within_seconds=PROMOTED_SECONDS,
            )  # fmt: skip
        finally:
            older.kill()
            shutil.rmtree(older.data_dir)
        self._await_log()


class LostAheadOfReplica(_LogFault):
    """A replica does not hear of the last commits; the log is lost and replaced; then the primary dies for good, and
    the replica that lacks them is promoted."""

    _proxy: TcpProxy | None = None
    _primary: PostgresServer | None = None

    def strike(self) -> None:
        context = self._context
        shard = self.shard = context.choose_shard(self._rng)
        primary, replica = context.get_primary(shard), context.get_replica(shard, self._rng)
        self._proxy = follow_through(context, primary, replica)
        self._proxy.hold()
        time.sleep(BEHIND_SECONDS)
        self._replace_disk(shutil.rmtree)
        self._accept_loss()
        self._primary = primary
        self.victim = primary.name
        primary.kill()

    def heal(self) -> None:
        context, shard, primary = self._context, self.shard, self._primary
        if primary is not None and shard is not None:
            context.await_none(
                lambda: None if _find_other_primary(context, shard, primary) else f"{shard} has no other primary",
                what=f"{shard} to be failed over",
                seconds=PROMOTED_SECONDS,
            )
            if self._proxy is not None:
                self._proxy.restore()
            primary.start()
            context.await_none(lambda: context.find_obstacle_of_shard(shard), what=shard)
        self._await_log()


class SteppedClock(_LogFault):
    """The clock of the log server's machine is ten days ahead, then right again."""

    def strike(self) -> None:
        library = _build_clock(self._server.data_dir.parent)
        self._restart({"LD_PRELOAD": str(library), "CLOCK_STEP_SECONDS": str(STEP_SECONDS)})
        with self._server.session() as client:
            ahead_seconds = client.time()[0] - time.time()
        if abs(ahead_seconds - STEP_SECONDS) > 60:
            raise NoVictim(f"the clock of the log server could not be stepped: it is {ahead_seconds:.0f} s ahead")

    def heal(self) -> None:
        self._restart({})
        self._await_log()

    def _restart(self, environment: dict[str, str]) -> None:
        self._server.extra_environment = environment
        self._server.restart()
        self._server.wait_ready()


def _find_other_primary(context: FaultContext, shard: str, former: PostgresServer) -> PostgresServer | None:
    others = [server for server in context.cluster.layout.shards[shard] if server is not former]
    return find_primary(others)


def _copy(source: Path, target: Path) -> None:
    """Of a server that goes on writing: a file may be replaced meanwhile."""
    for attempt in range(COPY_ATTEMPTS):
        with suppress(FileNotFoundError):
            shutil.rmtree(target)
        try:
            shutil.copytree(source, target)
        except (shutil.Error, FileNotFoundError):
            if attempt == COPY_ATTEMPTS - 1:
                raise
        else:
            return


def can_step_clock() -> bool:
    """Whether a library that steps a process's clock can be built here."""
    return shutil.which(COMPILER) is not None


def _build_clock(folder: Path) -> Path:
    """Raises NoVictim."""
    source, library = folder / "stepped_clock.c", folder / "stepped_clock.so"
    source.write_text(_CLOCK_SOURCE)
    command = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    if built.returncode:
        raise NoVictim(f"the library that steps a clock cannot be built: {built.stderr.strip()[:200]}")
    return library
