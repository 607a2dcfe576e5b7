"""What can be said of the code without running it: linter, formatter, import contracts, types, Django's own checks."""

import sys
from pathlib import Path

import pytest

from tests.processes import run

CHECK_SECONDS = 300.0
PROGRAMS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((PROGRAMS / "mypy",), id="types"),
        pytest.param((PROGRAMS / "ruff", "check", "."), id="linter"),
        pytest.param((PROGRAMS / "ruff", "format", "--check", "."), id="format"),
        pytest.param((PROGRAMS / "lint-imports",), id="imports"),
        pytest.param((sys.executable, "manage.py", "check"), id="django"),
        pytest.param(
            (sys.executable, "-W", "ignore::RuntimeWarning", "manage.py", "makemigrations", "--check", "--dry-run"),
            id="migrations",
        ),
    ],
)
def test_a_check_finds_nothing(command):
    done = run(command, within_seconds=CHECK_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
