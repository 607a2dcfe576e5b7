"""What stops a benchmark; each docstring is the operator's message."""


class BenchError(Exception):
    """The benchmark has no result. Permanent unless a subclass says otherwise."""


class BadBenchOption(BenchError):
    """An option that leaves nothing to measure, or that no cluster can be made of. The message names it."""


class BenchStepFailed(BenchError):
    """A step of the benchmark ended with an error; what it wrote to stderr says why."""


class BenchMiscount(BenchError):
    """The shards do not hold every event once: the figures mean nothing. The message says what they hold."""


class WrongAnswer(BenchError):
    """The service answered something else than 200 during a measurement. The message is what it answered."""


class NeverVisible(BenchError):
    """What was acknowledged did not become visible on every copy within its time. The message says what was seen."""
