"""TCP proxies with network faults: connections can be cut, delayed, or lossy.

A cut is silent, as with a pulled cable: connections stay open, new ones are accepted, and no data pass. A lost segment
costs a TCP connection the time until its retransmission, which is the delay that `lose` adds.
"""

import asyncio
import contextlib
import random
import socket
import threading
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
CONNECT_SECONDS = 2.0
GATE_SECONDS = 0.02
RETRANSMISSION_SECONDS = 0.3
"""Linux starts at 0.2 s and doubles."""
STOP_SECONDS = 10.0


class TcpProxy:
    """Listens on `port` and forwards to `target_port` of this machine, both ways, in the loop of its `TcpProxies`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self._rng = random.Random(target_port)  # noqa: S311 - what is lost, guards nothing
        # Set by other threads; each is one value that the loop reads.
        self._is_held = False
        self._delay_seconds = 0.0
        self._loss_share = 0.0

    def hold(self) -> None:
        self._is_held = True

    def slow_down(self, *, seconds: float) -> None:
        """Delay all data by this long, each way."""
        self._delay_seconds = seconds

    def lose(self, *, share: float) -> None:
        """This share of the chunks is delayed by a retransmission."""
        self._loss_share = share

    def restore(self) -> None:
        """End all impairments; held data are forwarded."""
        self._is_held, self._delay_seconds, self._loss_share = False, 0.0, 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one new connection until either side closes it."""
        try:
            await self._pass_gate()
            far_reader, far_writer = await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", self._target_port), CONNECT_SECONDS
            )
        except (OSError, TimeoutError):
            writer.close()
            return
        directions = [
            asyncio.create_task(self._forward(reader, far_writer)),
            asyncio.create_task(self._forward(far_reader, writer)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in directions:
                task.cancel()
            for end in (writer, far_writer):
                end.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._pass_gate()
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                if self._loss_share and self._rng.random() < self._loss_share:
                    await asyncio.sleep(RETRANSMISSION_SECONDS)
                writer.write(data)
                await writer.drain()

    async def _pass_gate(self) -> None:
        while self._is_held:
            await asyncio.sleep(GATE_SECONDS)


class TcpProxies:
    """All proxies of a drill or a test, in one thread. A context manager; `open` may be called before it is entered."""

    def __init__(self) -> None:
        self._proxies: dict[str, TcpProxy] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tcp-proxies", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=STOP_SECONDS)

    def open(self, name: str, target_port: int) -> TcpProxy:
        """The proxy of this name; created at the first call."""
        if name not in self._proxies:
            proxy = self._proxies[name] = TcpProxy(target_port)
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._serve(proxy)))
        return self._proxies[name]

    def find(self, name: str) -> TcpProxy | None:
        return self._proxies.get(name)

    async def _serve(self, proxy: TcpProxy) -> None:
        await asyncio.start_server(proxy.serve, sock=proxy.listener)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        for proxy in self._proxies.values():
            proxy.listener.close()
        self._loop.close()
