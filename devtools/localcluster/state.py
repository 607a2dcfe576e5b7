"""The state folder of one cluster: the path of each file, its mode, and how it is written.

All files of a cluster are below one folder (except those that `placement` had to move), readable by its owner only.
Files are replaced atomically, so neither a reader nor a crash sees half of one.
"""

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from dotenv import dotenv_values

STATE_DIR_VARIABLE = "VIEWCOUNTER_STATE_DIR"
PRIVATE_DIR = 0o700
PRIVATE_FILE = 0o600
LOG_MAX_BYTES = 32 * 1024 * 1024
LOG_TAIL_BYTES = 4 * 1024
SECRET_BYTES = 48
"""Random bytes of a secret: 64 characters, more than the 50 that Django's deploy check requires of a signing key."""


INSTANCE_PASSWORDS = frozenset({"shard_password", "configservice_password", "shard_proxy_password"})


def write_private(path: Path, text: str) -> None:
    """Replace `path` atomically by a file that only its owner may read."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_first(path: Path, line: str) -> str:
    """Write `path` unless it exists. Returns its content, which is another process's line if that one was first."""
    proposal = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_private(proposal, line + "\n")
    try:
        os.link(proposal, path)
    except FileExistsError:
        pass
    finally:
        proposal.unlink()
    return path.read_text(encoding="utf-8").strip()


def find_state_dir(environment: Mapping[str, str], *, default: Path) -> Path:
    """The state folder by the settings of `environment`, without loading all settings."""
    given = environment.get(STATE_DIR_VARIABLE)
    if given is None:
        settings_file = environment.get("VIEWCOUNTER_ENV_FILE", str(default / "env"))
        # the settings are read by the same library
        given = dotenv_values(settings_file).get(STATE_DIR_VARIABLE)
    return Path(given) if given else default


def _move(old: Path, new: Path) -> None:
    """Never over an existing file, also if two processes do it at once or one was killed half-way."""
    with suppress(FileExistsError, FileNotFoundError):
        os.link(old, new)
    with suppress(FileNotFoundError):
        if old.samefile(new):
            old.unlink()


class StateFolder:
    """Paths below `root`. `create` must come before anything is written."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.secrets = self.root / "secrets"
        self.instance_passwords = self.secrets / "instances"
        """The only passwords that a topology may refer to."""
        self.exchanged_secrets = self.secrets / "exchanged"
        self.logs = self.root / "log"
        self.run = self.root / "run"
        self.data = self.root / "data"
        self.environment_file = self.root / "env"
        self.ports_file = self.root / "ports.json"
        self.added_shards_file = self.root / "added-shards.json"
        self.placement_file = self.root / "placement.json"
        self.cluster_id_file = self.root / "cluster-id"
        self.topology_file = self.root / "topology.json"
        self.tryout_file = self.root / "tryout"
        self.lock_file = self.run / "lock"
        self.supervisor_file = self.run / "supervisor.json"
        self.layout_file = self.run / "layout.json"
        self.instances_file = self.run / "instances.json"

    def create(self) -> None:
        self.root.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        for folder in (self.secrets, self.instance_passwords, self.logs, self.run, self.data):
            folder.mkdir(mode=PRIVATE_DIR, exist_ok=True)

    def get_secret(self, name: str) -> str:
        """The secret of that name; created at the first call."""
        kept = self.find_secret(name)
        return write_first(self.get_secret_path(name), secrets.token_urlsafe(SECRET_BYTES)) if kept is None else kept

    def find_secret(self, name: str) -> str | None:
        """The secret of that name, None when there is none."""
        try:
            return self.get_secret_path(name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def find_cluster_id(self) -> str | None:
        """The id of the cluster in this folder, created at its first start.

        For a cluster of an earlier release, without this file, the id in the topology that its processes have stored;
        None if there is none: then only its control database has it.
        """
        try:
            return self.cluster_id_file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            pass
        if not self.placement_file.exists() and not any(self.data.iterdir()):
            return write_first(self.cluster_id_file, str(uuid4()))
        kept = read_json(self.topology_file)
        cluster_id = kept.get("cluster_id") if isinstance(kept, dict) else None
        return write_first(self.cluster_id_file, cluster_id) if cluster_id else None

    def rename_secret(self, name: str, new_name: str) -> None:
        """Never over an existing secret, also if two processes do it at once or one was killed half-way."""
        _move(self.get_secret_path(name), self.get_secret_path(new_name))

    def move_instance_passwords(self) -> None:
        """Earlier releases stored them among all secrets. Call only while the cluster does not run."""
        for name in INSTANCE_PASSWORDS:
            _move(self.secrets / name, self.instance_passwords / name)

    def get_secret_path(self, name: str) -> Path:
        if name not in INSTANCE_PASSWORDS:
            return self.secrets / name
        moved, before = self.instance_passwords / name, self.secrets / name
        return before if before.exists() and not moved.exists() else moved

    def get_log_path(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def get_record_path(self, name: str) -> Path:
        return self.run / f"{name}.pid.json"

    def read_log_tail(self, name: str) -> str:
        """The last lines of a process's log; may be empty."""
        try:
            with self.get_log_path(name).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
                return file.read().decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return ""

    def bound_log(self, name: str) -> None:
        """Keep the end of a log that has grown large as `<name>.log.1` and empty it.

        It is truncated in place: the writer has the file open and appends to it.
        """
        path = self.get_log_path(name)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return
        if size <= LOG_MAX_BYTES:
            return
        with path.open("rb+") as log:
            log.seek(size - LOG_MAX_BYTES // 4)
            write_private(path.with_suffix(".log.1"), log.read().decode("utf-8", "replace"))
            log.truncate(0)


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:
    write_private(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
