"""Hostile clients for part `abuse`: as many connections as one process can keep busy, at the lowest priority.

Each kind returns the outcomes of its requests: the status, or how the connection ended.
"""

import asyncio
import gzip
import os
import random
import re
import resource
import string
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
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
PAGE_ORIGIN = "https://page.example"
OBJECTS = 110_000
_COOKIE = re.compile(r"[Ss]et-[Cc]ookie: (csrftoken=\w+)")
_FORM_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


class Attack(StrEnum):
    SLOW_HEADS = "slow heads"
    HUGE_BODIES = "bodies of 1 GiB"
    GZIP_BOMBS = "gzip bombs of 200 MiB"
    PACKED_OBJECTS = "packed small objects, public key"
    HEADER_FLOODS = "endless headers"
    INVENTED_KEYS = "invented keys"
    INVENTED_KEYS_ELSEWHERE = "invented keys, Django's addresses"
    UNREAD_BODIES = "bodies without a key, one byte short"
    LOG_INS = "log-ins"
    PAGES = "the OpenAPI document"


@dataclass(frozen=True, slots=True)
class AttackTarget:
    """`token`: a key with write access, of an attacker with an account. `public_token`: the public key of a page."""

    host: str
    port: int
    token: str
    public_token: str


def prepare_attack(attack: Attack) -> None:
    """Prepare the data of the attack before it starts."""
    if attack is Attack.GZIP_BOMBS:
        _get_bomb()


def run_attack(attack: Attack, target: AttackTarget, *, connections: int, seconds: float) -> Counter[str]:
    """Blocks for `seconds`."""
    os.nice(_NICENESS)  # the attacker shares the machine with the service, which is what is measured
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return uvloop.run(_Attacker(target).run(attack, connections=connections, seconds=seconds))


def invent_token(rng: random.Random, *, prefix: str | None = None) -> str:
    """A well-formed but unknown key; `prefix`: that of an existing key."""
    prefix = prefix or "".join(rng.choices(_HEX, k=12))
    return f"vc_{prefix}_{''.join(rng.choices(_LETTERS, k=43))}"


class _Attacker:
    def __init__(self, target: AttackTarget) -> None:
        self._host, self._port, self._token = target.host, target.port, target.token
        self._public_token = target.public_token
        self._form: tuple[str, str] | None = None
        self._outcomes: Counter[str] = Counter()
        self._rng = random.Random(1)  # noqa: S311 - invents keys that are not to be guessed right
        self._door = asyncio.Semaphore(CONNECT_AT_ONCE)
        self._is_over = False  # checked by every loop: a task may miss that it was cancelled

    async def run(self, attack: Attack, *, connections: int, seconds: float) -> Counter[str]:
        kinds: dict[Attack, Callable[[], Coroutine[None, None, str]]] = {
            Attack.SLOW_HEADS: self._drip_head,
            Attack.HUGE_BODIES: self._send_huge_body,
            Attack.GZIP_BOMBS: self._send_bomb,
            Attack.PACKED_OBJECTS: self._send_objects,
            Attack.HEADER_FLOODS: self._flood_headers,
            Attack.INVENTED_KEYS: self._guess_keys,
            Attack.INVENTED_KEYS_ELSEWHERE: self._guess_keys_elsewhere,
            Attack.UNREAD_BODIES: self._leave_body_short,
            Attack.LOG_INS: self._log_in,
            Attack.PAGES: self._read_document,
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
        return await self._send(self._head(f"Content-Length: {HUGE_BODY_BYTES}"), endless=CHUNK)

    async def _send_bomb(self) -> str:
        return await self._send(
            self._head(f"Content-Encoding: gzip\r\nContent-Length: {len(_get_bomb())}") + _get_bomb()
        )

    async def _send_objects(self) -> str:
        """Like a page: a body that unpacks to 1 MiB of objects that are not events."""
        body = _get_objects()
        lines = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\nOrigin: {PAGE_ORIGIN}"
        return await self._send(self._head(lines, token=self._public_token) + body)

    async def _flood_headers(self) -> str:
        head = self._head("X-First: 1").removesuffix(b"\r\n")
        return await self._send(head, endless=b"".join(b"X-%d: y\r\n" % number for number in range(1000)))

    async def _guess_keys(self) -> str:
        body = b"{}"
        head = self._head(f"Content-Length: {len(body)}", token=invent_token(self._rng))
        return await self._send(head + body)

    async def _guess_keys_elsewhere(self) -> str:
        token = invent_token(self._rng)
        request = f"GET /v1/top HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {token}\r\n\r\n"
        return await self._send(request.encode())

    async def _leave_body_short(self) -> str:
        """Keeps the connection open for as long as the service allows."""
        lines = f"POST /v1/catalogue/import HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        head = f"{lines}Content-Length: {MEBIBYTE}\r\n\r\n"
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(head.encode() + b" " * (MEBIBYTE - 1))
            await writer.drain()
            line = await reader.readline()
            if not line:
                return "cut"
            with suppress(TimeoutError):
                async with asyncio.timeout(DRIP_SECONDS):
                    while await reader.read(65536):
                        pass
            return line.split(b" ")[1].decode()
        finally:
            writer.close()

    async def _log_in(self) -> str:
        """Unknown users, all with the form of one visit."""
        if self._form is None:
            self._form = await self._fetch_form()
        cookie, token = self._form
        name = "".join(self._rng.choices(_LETTERS, k=12))
        body = f"csrfmiddlewaretoken={token}&username={name}&password=wrong"
        lines = f"POST /admin/login/ HTTP/1.1\r\nHost: {self._host}\r\nCookie: {cookie}\r\n"
        head = f"{lines}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        return await self._send(f"{head}{body}".encode())

    async def _fetch_form(self) -> tuple[str, str]:
        """Cookie and hidden field of a log-in."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        request = f"GET /admin/login/ HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        page = (await reader.read(-1)).decode()
        writer.close()
        found = _COOKIE.search(page), _FORM_TOKEN.search(page)
        if found[0] is None or found[1] is None:
            raise OSError("the service shows no form to log in")
        return found[0][1], found[1][1]

    async def _read_document(self) -> str:
        request = f"GET /v1/schema HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n"
        return await self._send(request.encode())

    def _head(self, lines: str, *, token: str | None = None) -> bytes:
        return (
            f"POST /v1/events HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {token or self._token}\r\n"
            f"Content-Type: application/json\r\n{lines}\r\n\r\n"
        ).encode()

    async def _send(self, request: bytes, *, endless: bytes | None = None) -> str:
        """The status of the answer; `endless` is sent for as long as the service accepts data."""
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


@cache
def _get_objects() -> bytes:
    return gzip.compress(b'{"event_id":"x","a":[' + b",".join([b'{"a":{}}'] * OBJECTS) + b"]}", compresslevel=9)
