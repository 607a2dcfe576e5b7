"""Two tiers of tests: those that guard every change, and those marked `long`, which run with `--long`.

A property test runs in both: with few examples in the first tier, with many among the long tests.
"""

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, is_hypothesis_test
from hypothesis import settings as hypothesis_settings

QUICK_EXAMPLES = 50
LONG_FACTOR = 20
"""Factor of the number of examples of a property test among the long tests."""
PROPERTY_MINUTES = 0.3
"""Maximum duration of such a test."""

# How long an example takes says how busy the machine is, not whether the code is right.
_QUICK = hypothesis_settings(deadline=None, max_examples=QUICK_EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.register_profile("quick", _QUICK)
hypothesis_settings.register_profile("long", _QUICK, max_examples=QUICK_EXAMPLES * LONG_FACTOR)

_MINUTES = pytest.StashKey[float]()
_TIERS = pytest.StashKey["Tiers"]()


def scale_examples(quick: int) -> int:
    """Number of examples of a property test: `quick` in the first tier, more among the long tests."""
    return quick * hypothesis_settings().max_examples // QUICK_EXAMPLES


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tiers")
    group.addoption("--long", action="store_true", help="the long tests as well; property tests try more examples")
    group.addoption("--only-long", action="store_true", help="only the long tests and the property tests")
    group.addoption(
        "--within-minutes",
        type=float,
        metavar="N",
        help="begin no long test that would end later than N minutes from now; those left out are named at the end",
    )


class Tiers:
    """Selects the tests to run. `left_out`: number of long tests not requested. `not_begun`: tests without time."""

    def __init__(self, config: pytest.Config) -> None:
        self._only_long: bool = config.option.only_long
        self._with_long: bool = config.option.long or self._only_long
        minutes = config.option.within_minutes
        self._end_at = None if minutes is None else time.monotonic() + minutes * 60
        self.left_out = 0
        self.not_begun: list[str] = []
        # Before test modules are imported: some ask how many examples to try.
        hypothesis_settings.load_profile("long" if self._with_long else "quick")

    def choose(self, item: pytest.Item) -> bool:
        minutes = find_minutes(item)
        if self._only_long and minutes is None and is_hypothesis_test(getattr(item, "obj", None)):
            minutes = PROPERTY_MINUTES
        if minutes is None:
            return not self._only_long
        item.stash[_MINUTES] = minutes
        return self._with_long

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if self.choose(item)]
        others = [item for item in items if item not in set(chosen)]
        if self._only_long:
            chosen.sort(key=lambda item: item.stash[_MINUTES])  # most of them in little time
        else:
            self.left_out = len(others)
        if others:
            config.hook.pytest_deselected(items=others)
        items[:] = chosen

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        minutes = item.stash.get(_MINUTES, None)
        if minutes is None or self._end_at is None or time.monotonic() + minutes * 60 <= self._end_at:
            return
        self.not_begun.append(item.nodeid)
        pytest.skip("no time left to begin it")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["tiers"] = {"left_out": self.left_out, "not_begun": self.not_begun}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get("tiers")
        if told:
            self.left_out = told["left_out"]  # each worker collects all
            self.not_begun += told["not_begun"]

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.left_out:
            terminalreporter.write_line(f"\n{self.left_out} long tests were left out; --long runs them too")
        if self.not_begun:
            terminalreporter.write_sep("!", f"NO TIME WAS LEFT FOR {len(self.not_begun)} LONG TESTS", red=True)
            for nodeid in self.not_begun:
                terminalreporter.write_line(f"not run: {nodeid}")


def find_minutes(item: pytest.Item) -> float | None:
    """Duration of a long test, by its mark; None for a test of the first tier."""
    mark = item.get_closest_marker("long")
    if mark is None:
        return None
    if set(mark.kwargs) != {"minutes"} or mark.args:
        raise pytest.UsageError(f"{item.nodeid}: a long test says what it takes, as in long(minutes=2)")
    return float(mark.kwargs["minutes"])


def pytest_configure(config: pytest.Config) -> None:
    tiers = Tiers(config)
    config.pluginmanager.register(tiers, "viewcounter-tiers")
