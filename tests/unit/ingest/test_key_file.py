"""The file of API keys is used only as a process of this cluster wrote it, and readable by nobody else."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from viewcounter.apikeys.errors import KeyFileRefusal, KeyFileRefused
from viewcounter.apikeys.key_file import KeyList, KeyRecord, find_key_list, write_key_list
from viewcounter.apikeys.scopes import KeyKind

SECRET = "s" * 50
RECORD = KeyRecord(
    prefix="0123456789ab", secret_sha256=b"\x00\xff" * 16, name="page", kind=KeyKind.PUBLIC, scopes=("events:write",),
    allowed_origins=("https://example.com",), requests_per_second=None, events_per_second=7, expires_at=None,
    revoked_at=datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
)  # fmt: skip
KEYS = KeyList("cluster", datetime(2026, 2, 3, 4, 5, 6, 7, UTC), (RECORD,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "api_keys"
    write_key_list(path, KEYS, secret=SECRET)
    return path


def find_refusal(path: Path, *, secret: str = SECRET, cluster_id: str = "cluster") -> KeyFileRefusal | None:
    try:
        assert find_key_list(path, secret=secret, cluster_id=cluster_id) == KEYS
    except KeyFileRefused as error:
        assert str(path) in str(error)
        return error.reason
    return None


def test_written_keys_are_read_again_and_no_one_else_may_read_them(path: Path) -> None:
    assert find_refusal(path) is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert find_key_list(path.with_name("none"), secret=SECRET, cluster_id="cluster") is None


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o644])
def test_a_file_that_others_may_read_or_write_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert find_refusal(path) is KeyFileRefusal.MODE


def test_a_file_of_another_user_a_link_and_a_pipe_are_refused(path: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert find_refusal(tmp_path / "link") is KeyFileRefusal.UNREADABLE
    assert find_refusal(tmp_path / "pipe") is KeyFileRefusal.OWNER
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert find_refusal(path) is KeyFileRefusal.OWNER


def test_one_changed_byte_anywhere_and_another_secret_are_refused(path: Path) -> None:
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert find_refusal(path) is KeyFileRefusal.MAC
    for cut in (b"", data[:20], data[:-1], data + b" "):
        path.write_bytes(cut)
        assert find_refusal(path) is KeyFileRefusal.MAC
    path.write_bytes(data)
    assert find_refusal(path, secret="t" * 50) is KeyFileRefusal.MAC


def test_keys_of_another_cluster_are_refused(path: Path) -> None:
    assert find_refusal(path, cluster_id="another") is KeyFileRefusal.OTHER_CLUSTER


def test_a_file_of_a_release_with_other_fields_is_refused(path: Path) -> None:
    class OlderList(msgspec.Struct):
        cluster_id: str

    write_key_list(path, OlderList("cluster"), secret=SECRET)
    assert find_refusal(path) is KeyFileRefusal.UNREADABLE
