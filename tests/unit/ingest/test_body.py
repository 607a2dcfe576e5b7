"""A body is read within its bounds of bytes and time, or refused with what was received and what is allowed."""

import asyncio
from typing import Any

import pytest

from runtime.http.errors import ClientGone, Refused
from viewcounter.web.request import BodyReader
from viewcounter.web.settings import RequestLimits

LIMITS = RequestLimits(max_bytes=1000, discard_bytes=5000, body_seconds=0.05, bodies_held_max_bytes=2000)


def read(chunks: list[bytes], *, declared: int | None = None, leaves: bool = False) -> bytes:
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.disconnect"} if leaves else {"type": "http.request", "more_body": False})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    return asyncio.run(BodyReader(LIMITS).read(receive, declared_bytes=declared))


def refusal_of(chunks: list[bytes], **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        read(chunks, **options)
    return caught.value


def test_chunks_are_joined_up_to_exactly_the_limit() -> None:
    assert read([b"a" * 400, b"b" * 600]) == b"a" * 400 + b"b" * 600


def test_one_byte_past_the_limit_is_refused_naming_both_numbers() -> None:
    refusal = refusal_of([b"a" * 400, b"b" * 601])
    assert (refusal.problem.status, refusal.problem.code) == (413, "body_too_large")
    assert refusal.problem.detail == "The body has 1001 bytes; the limit is 1000 bytes."
    assert refusal.headers == ()


def test_declared_length_past_the_limit_is_refused_after_the_body_was_thrown_away() -> None:
    refusal = refusal_of([b"a" * 1500], declared=1500)
    assert refusal.problem.detail == "The body has 1500 bytes; the limit is 1000 bytes."
    assert refusal.headers == ()


def test_declared_length_past_what_is_discarded_is_refused_unread_and_closes() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing of this body may be read")

    with pytest.raises(Refused) as caught:
        asyncio.run(BodyReader(LIMITS).read(receive, declared_bytes=5001))
    assert caught.value.problem.status == 413
    assert caught.value.headers == ((b"connection", b"close"),)


def test_endless_body_is_refused_and_closed_once_enough_was_discarded() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    with pytest.raises(Refused) as caught:
        asyncio.run(BodyReader(LIMITS).read(receive, declared_bytes=None))
    assert caught.value.problem.detail == "The body has more than 5100 bytes; the limit is 1000 bytes."
    assert caught.value.headers == ((b"connection", b"close"),)


def test_body_that_does_not_arrive_in_time_is_refused_and_closed() -> None:
    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()

    with pytest.raises(Refused) as caught:
        asyncio.run(BodyReader(LIMITS).read(receive, declared_bytes=10))
    assert (caught.value.problem.status, caught.value.problem.code) == (408, "body_too_slow")
    assert caught.value.headers == ((b"connection", b"close"),)


def test_client_that_leaves_in_the_middle_is_gone() -> None:
    with pytest.raises(ClientGone):
        read([b"a"], leaves=True)


class Sender:
    """A client whose body comes part by part, as the test says."""

    def __init__(self) -> None:
        self._parts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.receive = self._parts.get

    def send(self, part: bytes, *, more: bool = True) -> None:
        self._parts.put_nowait({"type": "http.request", "body": part, "more_body": more})


def test_bodies_that_are_not_whole_hold_no_more_than_their_bound() -> None:
    limits = RequestLimits(max_bytes=1000, discard_bytes=5000, body_seconds=3600, bodies_held_max_bytes=2000)

    async def read_many() -> tuple[list[object], int]:
        reader, senders = BodyReader(limits), [Sender() for _ in range(5)]
        reads = []
        for sender in senders:
            reads.append(asyncio.ensure_future(reader.read(sender.receive, declared_bytes=None)))
            sender.send(b"x" * 900)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for sender in senders[3:]:
            sender.send(b"y", more=False)
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        return list(outcomes), reader.held_bytes

    outcomes, held = asyncio.run(read_many())
    refusals = [outcome.problem.code for outcome in outcomes[:3] if isinstance(outcome, Refused)]
    assert refusals == ["body_too_slow"] * 3
    assert outcomes[3:] == [b"x" * 900 + b"y"] * 2
    assert held == 0
