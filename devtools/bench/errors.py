"""Errors that end a benchmark without a result; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class BenchError(Exception):
    """The benchmark has no result."""


class BadBenchOption(BenchError, Permanent):
    """An option leaves nothing to measure, or no cluster of that shape can exist. The message names it."""


class BenchStepFailed(BenchError, Permanent):
    """A step of the benchmark failed; its stderr says why."""


class BenchMiscount(BenchError, Permanent):
    """The shards do not hold every event once, so the figures mean nothing. The message has the numbers."""


class WrongAnswer(BenchError, Permanent):
    """The service gave an unexpected answer during a measurement. The message contains it."""


class NeverVisible(BenchError, Retryable):
    """Acknowledged events did not become visible on every copy in time. The message has the positions."""
