"""A disk for one server that can be filled: a file system in memory whose size changes. Root only.

It is mounted over the data folder, so that this folder exists for every process at any time.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from devtools.localcluster.errors import ProgramFailed

SIZE_BYTES = 2 * 1024**3
"""Only used blocks take memory."""
SPARE_BYTES = 64 * 1024
"""Free space of the full disk: less than any server needs to continue."""
MOUNT_SECONDS = 60.0


class Server(Protocol):
    name: str

    @property
    def data_dir(self) -> Path: ...
    def stop(self) -> None: ...
    def start(self) -> None: ...
    def wait_ready(self) -> None: ...


def can_mount() -> bool:
    """Whether this process may mount file systems; in most containers even root may not."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory(prefix="viewcounter-") as folder:
        try:
            _mount(Path(folder), size_bytes=1024**2)
        except ProgramFailed:
            return False
        _run("umount", folder)
    return True


class SmallDisk:
    """Mounted while the context lasts; the server must be stopped before its end."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._disk = server.data_dir.with_name(f"{server.name}.disk")
        self._mounted: list[Path] = []

    def __enter__(self) -> Self:
        server = self._server
        self._disk.mkdir(mode=0o700)
        try:
            _mount(self._disk, size_bytes=SIZE_BYTES)
            self._mounted.append(self._disk)
            server.stop()
            _run("cp", "-a", f"{server.data_dir}/.", str(self._disk))
            _run("mount", "--bind", str(self._disk), str(server.data_dir))
            self._mounted.append(server.data_dir)
            server.start()
            server.wait_ready()
        except BaseException:
            server.stop()
            self._unmount()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unmount()

    def fill(self) -> None:
        """Shrink the file system so that nothing more fits."""
        state = os.statvfs(self._disk)
        used_bytes = (state.f_blocks - state.f_bfree) * state.f_frsize
        _run("mount", "-o", f"remount,size={used_bytes + SPARE_BYTES}", str(self._disk))

    def free(self) -> None:
        _run("mount", "-o", f"remount,size={SIZE_BYTES}", str(self._disk))

    def _unmount(self) -> None:
        for place in reversed(self._mounted):
            _run("umount", str(place))
        self._mounted.clear()


def _mount(place: Path, *, size_bytes: int) -> None:
    _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs", str(place))


def _run(*command: str) -> None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=MOUNT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramFailed(f"{' '.join(command)}: {error}") from error
    if result.returncode:
        raise ProgramFailed(f"{' '.join(command)}: {result.stderr.strip()}")
