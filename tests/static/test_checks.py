"""What can be said of the code without running it: linter, formatter, import contracts, types, Django's own checks."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pace import limit
from viewcounter.config.kinds import PROJECT_ROOT

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
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=limit(CHECK_SECONDS), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
