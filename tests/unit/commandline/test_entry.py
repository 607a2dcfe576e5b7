"""`manage.py` on the command line: its list of commands, its name in help, and output without a reader."""

import os
import subprocess
import sys
from pathlib import Path
from signal import SIGPIPE

import pytest

from commandline.entry import quiet_when_unread

ROOT = Path(__file__).resolve().parents[3]
CHILD_SECONDS = 120


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "100"} | environment,
        capture_output=True,
        text=True,
        timeout=CHILD_SECONDS,
        check=True,
    )


def test_help_lists_our_commands_by_subject_and_django_s_by_name_after_them():
    page = run("help").stdout
    headings = [line for line in page.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert [heading.split()[0] for heading in headings] == ["try", "run:", "cluster:", "data:", "keys:", "of"]
    ours, _, others = page.partition(headings[-1])
    assert "\n  up                  Start the local cluster: databases, logs and every process of ours\n" in ours
    assert "migrate" in others.split() and "up" not in others.split()
    assert "bench_step" not in page
    assert run("--help").stdout == run().stdout == page


@pytest.mark.parametrize(("script", "name"), [("", "manage.py up"), ("bin/up", "bin/up")])
def test_a_command_calls_itself_as_people_have_called_it(script: str, name: str):
    said = run("up", "--help", VIEWCOUNTER_SCRIPT=script).stdout
    assert said.startswith(f"usage: {name} [-h] [--detach] [--control-replicas N]\n")


def test_output_that_nobody_reads_ends_a_command_without_a_traceback():
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        finished = subprocess.run(
            [sys.executable, "manage.py", "help"],
            cwd=ROOT,
            stdout=write_end,
            stderr=subprocess.PIPE,
            timeout=CHILD_SECONDS,
            check=False,
        )
    finally:
        os.close(write_end)
    assert (finished.stderr, finished.returncode) == (b"", 128 + SIGPIPE)


def test_a_broken_pipe_that_is_not_the_output_remains_an_error():
    with pytest.raises(BrokenPipeError), quiet_when_unread():
        raise BrokenPipeError
