"""This host's copy of all API keys: read from the control database, kept in memory and in a file for the next start.

Invariants: one process of a host reads and writes at a time, so that an older list never replaces a newer one. A file
that does not pass its checks is not used. What the copy does not hold is unknown, not invalid.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.db.models import F

from configservice.errors import ClusterUnknown
from configservice.models import Cluster
from runtime.metrics import API_KEY_COPY_AGE, KEY_FILES_REFUSED
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog
from viewcounter.apikeys.errors import ControlDatabaseEmpty, KeyFileRefused
from viewcounter.apikeys.key_file import FILE_NAME, KeyList, KeyRecord, find_key_list, write_key_list
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import KeyKind
from viewcounter.cluster import get_cluster_id
from viewcounter.config import get_config

logger = logging.getLogger(__name__)

CLOCK_TOLERANCE_SECONDS = 60.0
"""A list that was read this long in the future was read under another clock: its age is unknown."""
BUSY_SECONDS = 1.0
"""Until the next attempt, while another process of the host writes the file."""
STOP_SECONDS = 2.0

_OUTAGE = (
    "the control database does not answer: known API keys stay valid; no key, topology or catalogue entry can be"
    " changed, no instance joins, and no shard fails over unless an external manager does it"
)


@dataclass(frozen=True, slots=True)
class CopiedKeys:
    """`read_at`: monotonic seconds of this process; -inf for a list of unknown age."""

    records: Mapping[str, KeyRecord]
    read_at: float


_Version = tuple[int, int]
"""Of a file: its inode and the time of its last change."""
_NOTHING = CopiedKeys({}, float("-inf"))


class KeyCopy:
    """Thread-safe. `refresh` runs in one thread at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        secret: str,
        find_cluster_id: Callable[[], str],
        interval_seconds: float,
        max_keys: int,
    ) -> None:
        self._path = folder / FILE_NAME
        self._secret = secret
        self._find_cluster_id = find_cluster_id
        self._interval_seconds = interval_seconds
        self._max_keys = max_keys
        self._keys = _NOTHING  # replaced whole, so that readers need no lock
        self._loaded: _Version | None = None
        self._refused: _Version | None = None
        self._is_started = False
        self._is_stale = False
        self._outage = OutageLog(logger, failed=_OUTAGE, recovered="the control database answers again")
        self._disk = OutageLog(
            logger,
            failed=f"API keys cannot be written to {self._path}: a gateway that starts while the control database is"
            " away refuses every request",
            recovered=f"API keys are written to {self._path} again",
        )
        self._task = PeriodicTask("api-key-copy", self.refresh, interval_seconds=interval_seconds)

    @property
    def keys(self) -> CopiedKeys:
        return self._keys

    def find_problem(self) -> str:
        """Why a gateway of this host that starts without the control database would know no key; else empty."""
        if not self._is_started or (self._loaded is not None and not self._disk.failures):
            return ""
        return (
            "no copy of the API keys is on the disk of this host: a gateway that starts while the control database is"
            " away refuses every request"
        )

    def start(self) -> None:
        """Loads the file before the first request needs it, and keeps it up to date in a thread from here on."""
        self.load()
        self._is_started = True
        self._task.start()

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)

    def request_refresh(self) -> None:
        """The control database says of a key what the copy does not: read it now. Returns at once.

        A copy at its bound lacks keys anyway, each of which would ask for this.
        """
        if len(self._keys.records) < self._max_keys:
            self._is_stale = True
            self._task.wake()

    def refresh(self) -> float | None:
        """Reads the control database, unless another process of this host has just done so. Never raises.

        Returns the seconds until the next call, None for the interval.
        """
        try:
            if not self._is_stale and self._is_file_young() and self.load():
                self._outage.report_success()  # of that other process
                return None
            with self._locking() as is_locked:
                if not is_locked:
                    return BUSY_SECONDS
                self._is_stale = False
                self._write(self._read())
        except (ClusterUnknown, ControlDatabaseEmpty, DatabaseError) as error:
            self.load()
            self._outage.report_failure(error)
            if self._outage.failures == 1 and not self._keys.records:
                logger.error("this host has no copy of the API keys: every request is refused meanwhile")
        finally:
            API_KEY_COPY_AGE.set(time.monotonic() - self._keys.read_at)
            close_old_connections()  # no request ends in this thread, so Django would never close it
        return None

    def load(self) -> bool:
        """Whether the content of the file is in memory, which another process, or an earlier one, may have written.

        Never raises; a refusal is logged once.
        """
        version = self._find_version()
        if version is None or version in (self._loaded, self._refused):
            return version is not None and version == self._loaded
        try:
            found = find_key_list(self._path, secret=self._secret, cluster_id=self._find_cluster_id())
        except ClusterUnknown:
            return False  # the file is checked when the cluster is known
        except KeyFileRefused as error:
            logger.error("%s", error)
            KEY_FILES_REFUSED.labels(error.reason).inc()
            self._refused = version
            return False
        if found is not None:
            self._keep(found, age_seconds=(datetime.now(UTC) - found.read_at).total_seconds())
            self._loaded = version
        return found is not None

    def _read(self) -> KeyList:
        """Raises ClusterUnknown, ControlDatabaseEmpty and django's database errors."""
        read_at, started_at = datetime.now(UTC), time.monotonic()
        cluster_id = self._find_cluster_id()
        check_holds_cluster()  # or an empty database that is being rebuilt would replace the file by an empty one
        # A valid key before a revoked one, and of each kind the most recent: what is left out is needed least.
        order = F("revoked_at").desc(nulls_first=True), F("last_used_at").desc(nulls_last=True)
        rows = list(ApiKey.objects.order_by(*order)[: self._max_keys + 1])
        self._outage.report_success()
        if len(rows) > self._max_keys:
            logger.warning("the copy of the API keys holds %d of them, there are more", self._max_keys)
        keys = KeyList(cluster_id, read_at, tuple(build_record(row) for row in rows[: self._max_keys]))
        self._keep(keys, age_seconds=time.monotonic() - started_at)
        return keys

    def _write(self, keys: KeyList) -> None:
        try:
            write_key_list(self._path, keys, secret=self._secret)
        except OSError as error:
            self._disk.report_failure(error)
            return
        self._disk.report_success()
        self._loaded = self._find_version()

    def _keep(self, keys: KeyList, *, age_seconds: float) -> None:
        is_dated = age_seconds > -CLOCK_TOLERANCE_SECONDS
        read_at = time.monotonic() - max(0.0, age_seconds) if is_dated else float("-inf")
        self._keys = CopiedKeys({record.prefix: record for record in keys.keys}, read_at)

    def _is_file_young(self) -> bool:
        """By the file's time of change: a process of this host has written it within the interval."""
        version = self._find_version()
        return version is not None and 0 <= time.time() - version[1] / 1e9 < self._interval_seconds * 0.9

    def _find_version(self) -> _Version | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    @contextmanager
    def _locking(self) -> Iterator[bool]:
        """Whether this process has the lock of the host. A process that dies releases it. Reports a bad folder."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._disk.report_failure(error)
            yield True  # nothing can be written there: memory alone is kept up to date
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(handle)


def check_holds_cluster() -> None:
    """Raises ControlDatabaseEmpty, and django's database errors."""
    if not Cluster.objects.exists():
        raise ControlDatabaseEmpty("the control database holds no cluster: it is new, or is being rebuilt")


def build_record(row: ApiKey) -> KeyRecord:
    return KeyRecord(
        prefix=row.prefix,
        secret_sha256=bytes(row.secret_sha256),
        name=row.name,
        kind=KeyKind(row.kind),
        scopes=tuple(row.scopes),
        allowed_origins=tuple(row.allowed_origins),
        requests_per_second=row.requests_per_second,
        events_per_second=row.events_per_second,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


@cache
def get_key_copy() -> KeyCopy:
    """The one of this process. Only processes that check keys of clients start it."""
    config = get_config()
    return KeyCopy(
        config.state_dir,
        secret=config.secret_key.get_secret_value(),
        find_cluster_id=get_cluster_id,
        interval_seconds=config.api_key.copy_seconds,
        max_keys=config.api_key.copy_max,
    )
