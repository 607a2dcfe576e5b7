"""What hostile clients do, for part `abuse`: as many connections as one process can keep busy, at the lowest priority.

Each kind returns how its requests ended: by status, or how the connection did.
"""

import asyncio
import gzip
import os
import random
import resource
import string
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import StrEnum
from functools import cache

import uvloop

MEBIBYTE = 1024 * 1024
HUGE_BODY_BYTES = 1024 * MEBIBYTE
BOMB_BYTES = 200 * MEBIBYTE
CHUNK = b"0" * 65536
DRIP_SECONDS = 2.0
CONNECT_AT_ONCE = 200
END_SECONDS = 5.0
_NICENESS = 19
_LETTERS = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


class Attack(StrEnum):
    SLOW_HEADS = "slow heads"
    HUGE_BODIES = "bodies of 1 GiB"
    GZIP_BOMBS = "gzip bombs of 200 MiB"
    HEADER_FLOODS = "endless headers"
    INVENTED_KEYS = "invented keys"


def run_attack(attack: Attack, *, host: str, port: int, token: str, connections: int, seconds: float) -> Counter[str]:
    """Blocks for `seconds`. `token` is a key that may write: what an attacker with an account of his own has."""
    os.nice(_NICENESS)  # it is the service that is measured, on a machine that has to run both
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    attacker = _Attacker(host, port, token)
    return uvloop.run(attacker.run(attack, connections=connections, seconds=seconds))


def invent_token(rng: random.Random, *, prefix: str | None = None) -> str:
    """A key that looks like one; `prefix`: of one that there is."""
    prefix = prefix or "".join(rng.choices(_HEX, k=12))
    return f"vc_{prefix}_{''.join(rng.choices(_LETTERS, k=43))}"


class _Attacker:
    def __init__(self, host: str, port: int, token: str) -> None:
        self._host, self._port, self._token = host, port, token
        self._outcomes: Counter[str] = Counter()
        self._rng = random.Random(1)  # noqa: S311 - invents keys that are not to be guessed right
        self._door = asyncio.Semaphore(CONNECT_AT_ONCE)
        self._is_over = False  # looked at by every loop: a task may miss that it was cancelled

    async def run(self, attack: Attack, *, connections: int, seconds: float) -> Counter[str]:
        kinds: dict[Attack, Callable[[], Coroutine[None, None, str]]] = {
            Attack.SLOW_HEADS: self._drip_head,
            Attack.HUGE_BODIES: self._send_huge_body,
            Attack.GZIP_BOMBS: self._send_bomb,
            Attack.HEADER_FLOODS: self._flood_headers,
            Attack.INVENTED_KEYS: self._guess_keys,
        }
        tasks = [asyncio.create_task(self._repeat(kinds[attack])) for _ in range(connections)]
        await asyncio.sleep(seconds)
        self._is_over = True
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=END_SECONDS)
        return self._outcomes

    async def _repeat(self, once: Callable[[], Coroutine[None, None, str]]) -> None:
        while not self._is_over:
            try:
                outcome = await once()
            except OSError as error:
                outcome = type(error).__name__
                await asyncio.sleep(0.1)
            self._outcomes[outcome] += 1

    async def _drip_head(self) -> str:
        async with self._door:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(b"POST /v1/events HTTP/1.1\r\nX-Slow: ")
        try:
            while not reader.at_eof() and not self._is_over:
                writer.write(b"a")
                await writer.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRIP_SECONDS):
                        await reader.read(1024)
        finally:
            writer.close()
        return "cut"

    async def _send_huge_body(self) -> str:
        return await self._ask(self._head(f"Content-Length: {HUGE_BODY_BYTES}"), endless=CHUNK)

    async def _send_bomb(self) -> str:
        return await self._ask(
            self._head(f"Content-Encoding: gzip\r\nContent-Length: {len(_get_bomb())}") + _get_bomb()
        )

    async def _flood_headers(self) -> str:
        head = self._head("X-First: 1").removesuffix(b"\r\n")
        return await self._ask(head, endless=b"".join(b"X-%d: y\r\n" % number for number in range(1000)))

    async def _guess_keys(self) -> str:
        body = b"{}"
        head = self._head(f"Content-Length: {len(body)}", token=invent_token(self._rng))
        return await self._ask(head + body)

    def _head(self, lines: str, *, token: str | None = None) -> bytes:
        return (
            f"POST /v1/events HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {token or self._token}\r\n"
            f"Content-Type: application/json\r\n{lines}\r\n\r\n"
        ).encode()

    async def _ask(self, request: bytes, *, endless: bytes | None = None) -> str:
        """The status, after which more is sent as long as the service takes it."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        sending = asyncio.create_task(_send(writer, request, endless))
        try:
            line = await reader.readline()
            return line.split(b" ")[1].decode() if line.startswith(b"HTTP/1.1 ") else "cut"
        finally:
            sending.cancel()
            writer.close()


async def _send(writer: asyncio.StreamWriter, request: bytes, endless: bytes | None) -> None:
    with suppress(OSError):
        writer.write(request)
        await writer.drain()
        while endless is not None:
            writer.write(endless)
            await writer.drain()


@cache
def _get_bomb() -> bytes:
    return gzip.compress(b"0" * BOMB_BYTES, compresslevel=9)
