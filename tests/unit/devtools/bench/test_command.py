"""Results of `manage.py bench` when a part fails or is interrupted."""

import json
import signal

import pytest
from django.core.management import CommandError, call_command

from devtools.bench import command
from devtools.bench.errors import BenchMiscount
from devtools.bench.report import PartReport


class FakePart:
    def __init__(self, name, outcome):
        self.name = name
        self.title = f"what {name} measures"
        self._outcome = outcome

    def run(self, context):
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return PartReport(self.name, self.title, (), (), (), {"seen": sorted(context.figures), "value": self._outcome})


@pytest.fixture(autouse=True)
def signals():
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def run(monkeypatch, tmp_path, *parts):
    monkeypatch.setattr(command, "list_parts", lambda *_: list(parts))
    files = {name: tmp_path / f"report.{name}" for name in ("json", "html", "markdown")}
    call_command("bench", **files)
    return files


def test_each_part_sees_the_figures_of_those_before_it(monkeypatch, tmp_path):
    files = run(monkeypatch, tmp_path, FakePart("one", 1), FakePart("two", 2))
    parts = json.loads(files["json"].read_text())["parts"]
    assert [part["figures"] for part in parts] == [{"seen": [], "value": 1}, {"seen": ["one"], "value": 2}]


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (
            BenchMiscount("of 3 events the shards hold 2"),
            "two has no result: BenchMiscount: of 3 events the shards hold 2",
        ),
        (KeyboardInterrupt(), "two was interrupted; no server is left"),
    ],
)
def test_parts_that_were_done_before_one_that_ends_early_are_written(monkeypatch, tmp_path, outcome, message):
    with pytest.raises(CommandError) as error:
        run(monkeypatch, tmp_path, FakePart("one", 1), FakePart("two", outcome), FakePart("three", 3))
    assert str(error.value) == message
    assert [part["name"] for part in json.loads((tmp_path / "report.json").read_text())["parts"]] == ["one"]
    for name in ("html", "markdown"):
        text = (tmp_path / f"report.{name}").read_text()
        assert "what one measures" in text and "three" not in text
