"""Of each key one large body is worked on in a pass of the event loop; small ones and other keys wait for no more."""

import asyncio
import gzip
import json

from tests.unit.ingest.builders import WRITER, FaultyLog, know_key, make_event, make_gateway, send
from viewcounter.apikeys.scopes import Scope
from viewcounter.ingest.turns import Turns

OTHER = "vc_" + "d" * 12 + "_" + "o" * 43


def test_those_of_one_owner_come_one_in_a_pass_and_those_of_two_owners_together() -> None:
    async def run() -> list[list[str]]:
        turns, passes = Turns(), [[]]

        async def work(owner: str) -> None:
            await turns.wait(owner)
            passes[-1].append(owner)

        tasks = [asyncio.ensure_future(work(owner)) for owner in "aaabb"]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            passes.append([])
        return [done for done in passes if done]

    passes = asyncio.run(run())
    assert max(done.count("a") for done in passes) == 1
    assert max(done.count("b") for done in passes) == 1
    assert passes[0] == ["a", "b"]


def test_small_post_of_another_key_is_answered_before_all_packed_bodies_of_one_are(log: FaultyLog) -> None:
    know_key(OTHER, Scope.EVENTS_WRITE)
    bomb = gzip.compress(b" " * 2**21)
    order: list[str] = []

    async def run() -> None:
        gateway = make_gateway(log)

        async def post(name: str, body: bytes, token: str, **headers: str) -> None:
            lines = {key.replace("_", "-"): value for key, value in headers.items()}
            response = await send(gateway, body, token=token, headers=lines)
            order.append(f"{name} {response.status}")

        bombs = [post("bomb", bomb, WRITER, Content_Encoding="gzip") for _ in range(16)]
        await asyncio.gather(*bombs, post("small", json.dumps({"value": "none"}).encode(), OTHER))

    asyncio.run(run())
    assert sorted(order) == ["bomb 413"] * 16 + ["small 422"]
    assert order.index("small 422") <= 2


def test_client_that_leaves_while_it_waits_for_its_turn_holds_up_nobody() -> None:
    async def run() -> None:
        turns = Turns()
        first, second, third = (asyncio.ensure_future(turns.wait("a")) for _ in range(3))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, third)

    asyncio.run(run())


def test_event_of_a_large_body_is_stored_as_any_other(log: FaultyLog) -> None:
    events = [make_event(note="x" * 200) for _ in range(400)]

    async def run() -> list[int]:
        gateway = make_gateway(log)
        body = json.dumps(events).encode()
        return [response.status for response in await asyncio.gather(*(send(gateway, body) for _ in range(3)))]

    assert asyncio.run(run()) == [202] * 3
    assert sum(log.append_sizes) == 1200
