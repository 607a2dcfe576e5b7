"""Single flight: of callers that want the same at the same time one makes the call, and the others wait for its answer.

The first caller leads. A follower waits no longer than its own deadline, and may reject the answer. An error of the
call or of its server is everybody's; one of the leader alone (it ran out of its own time, its thread was ended) makes a
follower lead instead. Whatever ends the leader wakes its followers.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, NamedTuple, TypeVar

from runtime.errors import CallerOnly, Permanent, Retryable

T = TypeVar("T")


class WaitedTooLong(CallerOnly, Exception):
    """The call of another caller had not returned when this one had to give up."""


@dataclass(frozen=True, slots=True)
class FlightOutcome(Generic[T]):
    """`is_shared`: another caller's answer."""

    answer: T
    is_shared: bool


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    """`answer` and `error` are set before `landed`, by the leader, and never again."""

    landed: threading.Event = field(default_factory=threading.Event)
    follower_count: int = 0
    answer: T | None = None
    error: BaseException | None = None


class _Place(Enum):
    LEADING = auto()
    FOLLOWING = auto()
    ALONE = auto()


class SingleFlight(Generic[T]):
    """For threads of one process. Invariant: at most one flight a key, and at most `max_followers` wait for it.

    A caller beyond that makes the call itself.
    """

    def __init__(self, *, max_followers: int) -> None:
        self._max_followers = max_followers
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._lock = threading.Lock()  # guards the flights and their follower counts, never held during a call

    @property
    def follower_count(self) -> int:
        """Callers that wait for another one's answer now."""
        with self._lock:
            return sum(flight.follower_count for flight in self._flights.values())

    def run(
        self,
        key: Hashable,
        call: Callable[[], T],
        *,
        deadline_at: float,
        may_lead: bool = True,
        accepts: Callable[[T], bool] = lambda _: True,
    ) -> FlightOutcome[T]:
        """The answer of `call`, made here or under way already. `deadline_at` is on the monotonic clock.

        `may_lead=False`: the call does more than others need, so none waits for it. An answer that `accepts` rejects is
        followed by a call of one's own. Raises what the call raises, here or at the leader, and WaitedTooLong.
        """
        while True:
            flight, place = self._take_place(key, may_lead=may_lead)
            if place is _Place.ALONE:
                return FlightOutcome(call(), is_shared=False)
            if place is _Place.LEADING:
                return FlightOutcome(self._lead(key, flight, call), is_shared=False)
            self._follow(flight, deadline_at=deadline_at)
            if flight.error is None:
                if accepts(flight.answer):  # type: ignore[arg-type]  # set, as there is no error
                    return FlightOutcome(flight.answer, is_shared=True)  # type: ignore[arg-type]
                return FlightOutcome(call(), is_shared=False)
            if is_everybodys_error(flight.error):
                raise flight.error

    def _take_place(self, key: Hashable, *, may_lead: bool) -> tuple[_Flight[T], _Place]:
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                flight = _Flight()
                if not may_lead:
                    return flight, _Place.ALONE
                self._flights[key] = flight
                return flight, _Place.LEADING
            if flight.follower_count >= self._max_followers:
                return flight, _Place.ALONE
            flight.follower_count += 1
            return flight, _Place.FOLLOWING

    def _lead(self, key: Hashable, flight: _Flight[T], call: Callable[[], T]) -> T:
        try:
            flight.answer = call()
            return flight.answer
        except BaseException as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.landed.set()

    def _follow(self, flight: _Flight[T], *, deadline_at: float) -> None:
        try:
            if not flight.landed.wait(max(0.0, deadline_at - time.monotonic())):
                raise WaitedTooLong("the same call of another caller has not returned in time")
        finally:
            with self._lock:
                flight.follower_count -= 1


class TooManyFlights(CallerOnly, Exception):
    """As many different calls are under way as may be."""


class _AsyncFlight(NamedTuple, Generic[T]):
    """`deadline_at` is of the event loop's clock; the thread may go on past it."""

    answer: "asyncio.Future[T]"
    deadline_at: float


class AsyncSingleFlight(Generic[T]):
    """For callers on one event loop: each call runs in a thread, once for all who want the same.

    Invariant: at most one flight a key, and at most `max_flights` in all, which wait for `max_threads` threads. Opens
    nothing before the first call.
    """

    def __init__(self, name: str, *, max_threads: int, max_flights: int, timeout_seconds: float) -> None:
        self._executor = ThreadPoolExecutor(max_threads, thread_name_prefix=name)
        self._max_flights = max_flights
        self._timeout_seconds = timeout_seconds
        self._flights: dict[Hashable, _AsyncFlight[T]] = {}
        self._waiting_count = 0
        self._lock = threading.Lock()  # guards _waiting_count

    @property
    def waiting_count(self) -> int:
        """Calls that wait for a thread now."""
        return self._waiting_count

    async def run(self, key: Hashable, call: Callable[[], T]) -> T:
        """The answer of `call`, or of the one that runs for `key` already.

        Raises what the call raises, TooManyFlights, and TimeoutError at the deadline that the first caller set.
        """
        flight = self._take(key, call)
        async with asyncio.timeout_at(flight.deadline_at):
            return await asyncio.shield(flight.answer)  # a caller that leaves ends nobody else's wait

    def start(self, key: Hashable, call: Callable[[], T]) -> None:
        """`run` for a caller that does not wait for the answer. Raises TooManyFlights."""
        self._take(key, call)

    def close(self) -> None:
        """Waits for nothing; calls that have not begun are cancelled."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _take(self, key: Hashable, call: Callable[[], T]) -> _AsyncFlight[T]:
        flight = self._flights.get(key)
        if flight is not None:
            return flight
        if len(self._flights) >= self._max_flights:
            raise TooManyFlights(f"{len(self._flights)} calls are under way")
        loop = asyncio.get_running_loop()
        with self._lock:
            self._waiting_count += 1
        answer = loop.run_in_executor(self._executor, self._run_in_thread, call)
        flight = self._flights[key] = _AsyncFlight(answer, loop.time() + self._timeout_seconds)
        answer.add_done_callback(lambda done: self._forget(key, done))
        return flight

    def _run_in_thread(self, call: Callable[[], T]) -> T:
        with self._lock:
            self._waiting_count -= 1
        return call()

    def _forget(self, key: Hashable, answer: "asyncio.Future[T]") -> None:
        del self._flights[key]
        if not answer.cancelled():
            answer.exception()  # seen, even if every caller that waited for it has gone


def is_everybodys_error(error: BaseException) -> bool:
    """Whether every caller of the same call would get the same error now. Pure."""
    if isinstance(error, CallerOnly):
        return False
    return isinstance(error, Permanent | Retryable)
