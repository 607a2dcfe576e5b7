"""What fails at every attempt is logged when it begins to fail and when it works again, and not in between."""

import logging
import time
from collections.abc import Callable


class OutageLog:
    """For one thread at a time. Invariant: an outage has one line at its begin and one at its end.

    `failed` and `recovered` name the thing and say what follows. The second line is a warning too, so that nobody sees
    the first one without it. An outage of level ERROR comes with the traceback.

    Use one for everything that fails for the same reason, such as all partitions of a shard, and not one for each:
    with `quiet_seconds` a success of one of them ends the outage only if none has failed for so long.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        failed: str,
        recovered: str,
        level: int = logging.WARNING,
        quiet_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._failed = failed
        self._recovered = recovered
        self._level = level
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._failed_at = 0.0
        self.failures = 0
        """In this outage; 0 while it works."""

    def report_failure(self, error: BaseException | str) -> None:
        if self.failures == 0:
            exc_info = error if self._level >= logging.ERROR and isinstance(error, BaseException) else None
            self._logger.log(self._level, "%s: %s", self._failed, error, exc_info=exc_info)
        self.failures += 1
        self._failed_at = self._clock()

    def report_success(self) -> None:
        if self.failures and self._clock() - self._failed_at < self._quiet_seconds:
            return
        if self.failures:
            self._logger.warning("%s (failed attempts: %d)", self._recovered, self.failures)
        self.failures = 0
