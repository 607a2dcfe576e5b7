"""Pins, their locks and the imports of the code agree."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINS_OF_LOCKS = {
    "requirements.lock": ["requirements.txt"],
    "requirements-local.lock": ["requirements.txt", "requirements-local.txt"],
    "requirements-dev.lock": ["requirements.txt", "requirements-local.txt", "requirements-dev.txt"],
}
STALE = "a pin and its lock differ: run bin/lock-requirements"


@pytest.mark.parametrize("lock", PINS_OF_LOCKS)
def test_a_lock_holds_the_pins_of_its_files_and_what_they_need(lock):
    entries = read_lock(lock)
    asked_for = {
        (name, version, pins) for name, (version, text) in entries.items() for pins in re.findall(r"-r (\S+)", text)
    }
    assert asked_for == {(*pin, pins) for pins in PINS_OF_LOCKS[lock] for pin in read_pins(pins)}, STALE


@pytest.mark.parametrize("lock", PINS_OF_LOCKS)
def test_every_locked_package_has_hashes_and_no_lock_names_an_index(lock):
    text = (ROOT / lock).read_text()
    assert [name for name, (_, entry) in read_lock(lock).items() if "--hash=sha256:" not in entry] == []
    assert re.findall(r"^--.*|\S*://\S*|\S+ @ .*", text, re.MULTILINE) == []


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [("requirements.lock", "requirements-local.lock"), ("requirements-local.lock", "requirements-dev.lock")],
)
def test_a_larger_lock_only_adds_to_the_smaller(smaller, larger):
    versions = {name: version for name, (version, _) in read_lock(larger).items()}
    assert {name: version for name, (version, _) in read_lock(smaller).items()}.items() <= versions.items(), STALE


def test_every_pin_gives_its_reason():
    for pins in PINS_OF_LOCKS["requirements-dev.lock"]:
        for line in (ROOT / pins).read_text().splitlines():
            assert not line or line.startswith("#") or re.search(r"==\S+.*  # \S", line), line


@pytest.mark.parametrize(
    ("lock", "packages"),
    [
        ("requirements.lock", ["viewcounter", "clusterproxy", "shardproxy", "configservice", "runtime", "commandline"]),
        ("requirements-local.lock", ["devtools"]),
    ],
)
def test_a_package_imports_nothing_that_its_lock_lacks(lock, packages, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "viewcounter.settings"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_EVERYTHING, ",".join(packages), *read_lock(lock)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


# Packages that are installed here but not in the lock cannot be imported, as if only the lock were installed.
IMPORT_EVERYTHING = """
import sys
from importlib import import_module, metadata
from pkgutil import walk_packages

def normalise(name):
    return name.replace("_", "-").replace(".", "-").lower()

locked = set(sys.argv[2:])
lacking = {
    module: names
    for module, names in metadata.packages_distributions().items()
    if not locked.intersection(map(normalise, names))
}
assert "pytest" in lacking

class Refuse:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in lacking:
            raise ModuleNotFoundError(f"{name} is not in the lock", name=name)

sys.meta_path.insert(0, Refuse)
import django
django.setup()
# What Celery and gunicorn are told by names in settings and on command lines.
modules = ["kombu.transport.redis", "celery.bin.worker", "celery.bin.beat", "gunicorn.app.wsgiapp", "uvicorn_worker"]
for package in sys.argv[1].split(","):
    modules += [found.name for found in walk_packages([f"{sys.path[1]}/{package}"], f"{package}.")]
for name in modules:
    # bench.peers: a Django project of its own.
    if not any(part in name for part in (".bench.peers", ".migrations", "__main__")):
        import_module(name)
"""


def read_pins(file: str) -> set[tuple[str, str]]:
    lines = (ROOT / file).read_text().splitlines()
    pins = [re.match(r"([A-Za-z0-9._-]+)(?:\[\w+\])?==([^\s;]+)", line) for line in lines if line[:1] not in ("", "#")]
    return {(re.sub(r"[-_.]+", "-", pin[1]).lower(), pin[2]) for pin in pins if pin}


def read_lock(file: str) -> dict[str, tuple[str, str]]:
    """Version and whole entry of each package."""
    text = (ROOT / file).read_text()
    entries = re.findall(r"^([a-z0-9-]+)==([^\s;]+)(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    return {name: (version, entry) for name, version, entry in entries}
