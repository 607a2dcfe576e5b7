"""Whether this web process is about to stop: known before its last requests end, so that endless ones can be ended."""

from collections.abc import Callable

_callbacks: list[Callable[[], None]] = []


def on_stop(callback: Callable[[], None]) -> None:
    """`callback` is called once on the event loop when the process begins to stop."""
    _callbacks.append(callback)


def announce_stop() -> None:
    while _callbacks:
        _callbacks.pop()()
