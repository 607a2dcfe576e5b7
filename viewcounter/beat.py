"""Celery beat's scheduler: several beats run, the one that holds the lease in the broker sends.

Nothing is kept on disk: a beat that starts sends each task one interval later, one that takes over sends what is due by
its own clock, so that a beat can be killed at any time and has no file that another one could damage.
"""

import logging
import time
from typing import Any

from celery.beat import Scheduler

from runtime.transitions import OutageLog
from viewcounter.processing.beat_lease import BeatLease

logger = logging.getLogger(__name__)

LOOP_SECONDS = 3.0
"""Longest pause between two looks at the schedule and at the lease."""
LEASE_SECONDS = 10.0
"""Time after which another beat takes over from one that died; several loops, so that a busy machine keeps it."""
RENEW_SECONDS = 2.5
"""Between two renewals, since each of several tasks that are due at once is a tick of its own."""


class LeasedScheduler(Scheduler):
    """Invariant: it sends only within RENEW_SECONDS after it has taken or renewed the lease."""

    max_interval = LOOP_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lease = BeatLease(self._get_client, seconds=LEASE_SECONDS)
        self._leads = False
        self._renew_at = 0.0
        self._outage = OutageLog(
            logger, failed="the broker does not answer, no task is sent", recovered="the broker answers again"
        )

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Seconds until the next call. One task is sent a call."""
        if not self._hold():
            return self.max_interval
        return float(super().tick(*arguments, **options))

    def close(self) -> None:
        """At an orderly stop."""
        if self._leads:
            try:
                self._lease.release()
            except self._broker_errors as error:
                logger.info("the lease of beat ends by itself: %s", error)
        super().close()

    def _hold(self) -> bool:
        """Never raises what the broker's driver raises: the next call tries again."""
        if self._leads and time.monotonic() < self._renew_at:
            return True
        renew_at = time.monotonic() + RENEW_SECONDS  # counted from before the call: the lease is no older
        try:
            leads = self._lease.hold()
        except self._broker_errors as error:
            self._outage.report_failure(error)
            self._leads = False
            return False
        self._outage.report_success()
        self._renew_at = renew_at
        if leads != self._leads:
            self._leads = leads
            logger.info("this beat %s", "sends the periodic tasks" if leads else "stands by: another one sends")
        return leads

    def _get_client(self) -> Any:
        """The client of the broker connection; connects at the first call, with one more attempt two seconds later."""
        self.connection.ensure_connection(max_retries=1, reraise_as_library_errors=False)
        return self.connection.default_channel.client

    @property
    def _broker_errors(self) -> tuple[type[Exception], ...]:
        return (OSError, *self.connection.connection_errors, *self.connection.channel_errors)
