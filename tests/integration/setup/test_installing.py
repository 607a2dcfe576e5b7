"""What bin/_bootstrap installs, from an index of its own: small wheels in a folder, named to pip and to nobody else."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import run

BIN = Path(__file__).resolve().parents[3] / "bin"
WITHIN_SECONDS = 120


class Clone:
    """A folder with the scripts, a lock that names `locked`, and an index that has versions 1 of first and second."""

    def __init__(self, folder: Path, index: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for script in ("_bootstrap", "_requirements.py"):
            shutil.copy(BIN / script, folder / "bin")
        (folder / "settings").touch()
        self._index = index
        self.programs = os.environ["PATH"]

    def lock(self, *locked: str, kind: str = "local") -> None:
        entries = [f"{name}==1 \\\n    --hash=sha256:{read_hash(self._index, name)}\n" for name in locked]
        (self.folder / f"requirements-{kind}.lock").write_text("".join(entries))

    def set_up(self, needs: str = "local") -> subprocess.CompletedProcess[str]:
        pip_settings = self.folder / "pip.conf"
        pip_settings.write_text(f"[global]\nindex-url = {self._index.as_uri()}\n")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))} | {
            "PATH": self.programs,
            "PIP_CONFIG_FILE": str(pip_settings),  # instead of the machine's own
            "UV_CACHE_DIR": str(self.folder / "cache"),
            "VIEWCOUNTER_PYTHON": str(Path(sys.executable).resolve()),  # behind the link: of the machine, with pip
            "VIEWCOUNTER_ENV_FILE": str(self.folder / "settings"),
            "NEEDS": needs,
        }
        command = ["bash", "-c", "source bin/_bootstrap"]
        return run(command, cwd=self.folder, environment=environment, within_seconds=WITHIN_SECONDS)

    def read_installed(self) -> set[str]:
        installed = (self.folder / ".venv").glob("lib/python3.*/site-packages/*.dist-info")
        return {path.name.partition("-")[0] for path in installed} - {"pip", "setuptools"}


@pytest.fixture
def clone(tmp_path):
    for name in ("first", "second"):
        make_wheel(tmp_path / "index" / name, name)
    return Clone(tmp_path / "clone", tmp_path / "index")


@pytest.fixture
def without_uv(clone, tmp_path):
    """`clone`, on a machine with nothing but what the scripts need."""
    (tmp_path / "programs").mkdir()
    for program in ("bash", "cat", "cksum", "dirname", "grep"):
        found = shutil.which(program)
        assert found
        (tmp_path / "programs" / program).symlink_to(found)
    clone.programs = str(tmp_path / "programs")
    return clone


def test_uv_installs_what_the_lock_names_and_removes_what_it_no_longer_names(clone):
    clone.lock("first", "second")
    done = clone.set_up()
    assert (done.returncode, clone.read_installed()) == (0, {"first", "second"}), done.stderr
    assert "by pip" not in done.stderr
    clone.lock("second")
    assert (clone.set_up().returncode, clone.read_installed()) == (0, {"second"})
    assert clone.set_up().stderr == ""


def test_pip_installs_the_same_where_there_is_no_uv(without_uv):
    without_uv.lock("first", "second")
    done = without_uv.set_up()
    assert (done.returncode, without_uv.read_installed()) == (0, {"first", "second"}), done.stderr
    assert "uv is not available here: installing requirements-local.lock by pip" in done.stderr
    without_uv.lock("second")
    assert (without_uv.set_up().returncode, without_uv.read_installed()) == (0, {"second"})


def test_a_package_with_another_hash_than_the_locked_one_is_refused(clone):
    clone.lock("first", "second")
    make_wheel(clone.folder.parent / "index/second", "second", content="changed = True\n")
    done = clone.set_up()
    assert (done.returncode, clone.read_installed()) == (1, set())
    assert "pip could not install requirements-local.lock" in done.stderr
    clone.lock("first", "second")
    assert (clone.set_up().returncode, clone.read_installed()) == (0, {"first", "second"})


def test_an_environment_with_the_tools_of_tests_keeps_them_when_the_service_starts(clone):
    clone.lock("first")
    clone.lock("first", "second", kind="dev")
    assert (clone.set_up("dev").returncode, clone.read_installed()) == (0, {"first", "second"})
    assert (clone.set_up("local").returncode, clone.read_installed()) == (0, {"first", "second"})


def test_an_environment_is_made_again_where_the_folder_was_moved(clone):
    clone.lock("first")
    clone.set_up()
    moved_to = clone.folder.with_name("moved")
    clone.folder = clone.folder.rename(moved_to)
    done = clone.set_up()
    assert "creating .venv" in done.stderr
    assert f"{moved_to}/.venv" in (moved_to / ".venv/bin/activate").read_text()


def test_an_environment_behind_a_link_is_left_as_it_is(clone, tmp_path):
    clone.lock("first")
    (tmp_path / "others/bin").mkdir(parents=True)
    (clone.folder / ".venv").symlink_to(tmp_path / "others")
    assert (clone.set_up().returncode, clone.read_installed()) == (0, {"first"})
    assert list((tmp_path / "others").rglob("*")) == [tmp_path / "others/bin"]


def make_wheel(folder: Path, name: str, content: str = "") -> None:
    """An index's page of the package `name`, and its version 1 with one module."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.dist-info"
    files = {
        f"{name}.py": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={digest(text)},{len(text)}\n" for path, text in files.items())
    wheel = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(path, text)
    (folder / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def read_hash(index: Path, name: str) -> str:
    return hashlib.sha256((index / name / f"{name}-1-py3-none-any.whl").read_bytes()).hexdigest()
