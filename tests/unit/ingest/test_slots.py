"""So many requests of a kind at once, so many waiting, and the others are refused before anything is done for them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runtime.http.errors import Refused
from viewcounter.web.django_shares import DjangoShares, NoSlot, Slots
from viewcounter.web.settings import LogInSettings, WebSettings

START = {"type": "http.response.start"}


class Application:
    """Answers when it is told to; counts the requests that are under way."""

    def __init__(self) -> None:
        self.count = self.most = 0
        self.may_answer = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.count += 1
        self.most = max(self.most, self.count)
        await self.may_answer.wait()
        self.count -= 1
        await send(START)
        await self.may_end.wait()


async def ignore(_message: Any) -> None:
    return


async def let_run() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(script: Callable[[Application], Awaitable[None]]) -> None:
    async def make_and_run() -> None:
        await script(Application())

    asyncio.run(make_and_run())


def start(slots: Slots, application: Application, count: int) -> list["asyncio.Task[None]"]:
    return [asyncio.ensure_future(slots.serve(application, {}, ignore, ignore)) for _ in range(count)]


def test_two_at_once_three_wait_in_order_and_the_sixth_is_refused() -> None:
    async def script(application: Application) -> None:
        tasks = start(Slots(max_at_once=2, max_waiting=3, wait_seconds=3600), application, 6)
        await let_run()
        assert application.count == 2
        with pytest.raises(NoSlot):
            await tasks[5]
        application.may_answer.set()
        application.may_end.set()
        await asyncio.gather(*tasks[:5])
        assert application.most == 2

    run(script)


def test_request_that_waits_too_long_is_refused_and_leaves_its_place() -> None:
    async def script(application: Application) -> None:
        slots = Slots(max_at_once=1, max_waiting=1, wait_seconds=0.01)
        first, second = start(slots, application, 2)
        await let_run()
        with pytest.raises(NoSlot):
            await second
        (third,) = start(slots, application, 1)
        application.may_answer.set()
        application.may_end.set()
        await asyncio.gather(first, third)

    run(script)


def test_client_that_does_not_read_its_answer_holds_no_slot() -> None:
    async def script(application: Application) -> None:
        slots = Slots(max_at_once=1, max_waiting=1, wait_seconds=3600)
        application.may_answer.set()
        unread = start(slots, application, 3)
        await let_run()
        assert not any(task.done() for task in unread)
        application.may_end.set()
        await asyncio.gather(*unread)

    run(script)


def test_application_that_fails_gives_its_slot_back() -> None:
    async def fail(*_: Any) -> None:
        raise ValueError

    async def script(_application: Application) -> None:
        slots = Slots(max_at_once=1, max_waiting=0, wait_seconds=3600)
        for _ in range(3):
            with pytest.raises(ValueError):
                await slots.serve(fail, {}, ignore, ignore)

    run(script)


WEB = WebSettings(keyless_max_at_once=2, keyless_max_waiting=1)
PASSWORDS = LogInSettings(max_at_once=1, max_waiting=1)
LOG_IN = ("POST", "/admin/login/")
PAGE = ("GET", "/admin/login/")
HEALTH = ("GET", "/readyz")
OTHER = ("GET", "/v1/schema")


def test_each_kind_of_request_has_its_share_and_a_secret_key_needs_none() -> None:
    """Each kind is asked for until one is refused; the others have as many places as before."""
    served = {LOG_IN: 2, PAGE: 3, HEALTH: 3}

    async def script(application: Application) -> None:
        shares = DjangoShares(WEB, PASSWORDS)

        def ask(request: tuple[str, str], *, is_trusted: bool = False) -> "asyncio.Task[None]":
            scope = {"method": request[0], "path": request[1]}
            return asyncio.ensure_future(shares.serve(application, scope, ignore, ignore, is_trusted=is_trusted))

        tasks = []
        for request, count in served.items():
            tasks += [ask(request) for _ in range(count)]
            await let_run()
            with pytest.raises(Refused) as caught:
                await ask(request)
            assert (caught.value.problem.status, caught.value.headers) == (503, ((b"retry-after", b"5"),))
        with pytest.raises(Refused):
            await ask(OTHER)  # of the kind of PAGE
        tasks += [ask(OTHER, is_trusted=True) for _ in range(20)]
        await let_run()
        assert application.count == 1 + 2 + 2 + 20
        application.may_answer.set()
        application.may_end.set()
        await asyncio.gather(*tasks)

    run(script)
