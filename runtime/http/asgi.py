"""ASGI: the types of its callables, one responder, and one way to let a body that was read be read again."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from runtime.http.errors import Refused
from runtime.http.problems import PROBLEM_CONTENT_TYPE, encode_problem

Headers = tuple[tuple[bytes, bytes], ...]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApplication = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

PROBLEM_LINE = (b"content-type", PROBLEM_CONTENT_TYPE.encode())


async def respond(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes = b"") -> None:
    """Sends one whole response. `headers` are complete: nothing is added to them."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def respond_refused(send: Send, refusal: Refused, *, request_id: str) -> None:
    """Sends the problem of a refused request; no cache stores it."""
    body = encode_problem(refusal.problem, request_id=request_id)
    headers = (
        PROBLEM_LINE,
        *refusal.headers,
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        (b"cache-control", b"no-store"),
    )
    await respond(send, refusal.problem.status, headers, body)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` for the next application: `body` as one message, then the messages of `receive`."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> dict[str, Any]:
        return messages.pop() if messages else await receive()

    return replay
