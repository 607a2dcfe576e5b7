"""Checkers of other projects, used where they are installed."""

import shutil
import subprocess

import pytest


def run_where_found(program: str, *arguments: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed here: docker/ IS NOT CHECKED BY IT")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
