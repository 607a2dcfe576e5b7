"""Vendored files are those of the packages that their list names, unchanged, each with its licence."""

from hashlib import sha256
from pathlib import Path

from django.contrib.staticfiles import finders

DIGESTS = {
    "htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
LICENCES = {"htmx.LICENSE.txt", "uPlot.LICENSE.txt"}


def find(name: str) -> Path:
    return Path(finders.find(f"console/vendor/{name}"))


def test_every_vendored_file_is_as_published():
    folder = find("README.md").parent
    names = {path.name for path in folder.iterdir()}
    assert names == {*DIGESTS, *LICENCES, "README.md"}
    assert {name: sha256(find(name).read_bytes()).hexdigest() for name in DIGESTS} == DIGESTS


def test_the_list_names_every_file_with_its_licence():
    text = find("README.md").read_text()
    assert [name for name in {*DIGESTS, *LICENCES} if name not in text] == []
