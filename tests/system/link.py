"""A TCP connection between two servers with a hand on it: it can be held, and then nothing passes either way."""

import selectors
import socket
import threading
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024


class Link:
    """Listens on `port` and forwards to `target_port` of this machine while it is not held."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._moving = threading.Event()
        self._moving.set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._moving.set()
        self._thread.join()

    def hold(self) -> None:
        """Connections stay open, new ones are taken, and nobody hears anything."""
        self._moving.clear()

    def _run(self) -> None:
        peers: dict[socket.socket, socket.socket] = {}
        with selectors.DefaultSelector() as selector, self._listener:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._stopping.is_set():
                if not self._moving.wait(0.05):
                    continue
                for key, _ in selector.select(timeout=0.05):
                    if key.fileobj is self._listener:
                        self._join(selector, peers)
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj in peers:
                        self._forward(selector, peers, key.fileobj)
            for connection in peers:
                connection.close()

    def _join(self, selector: selectors.BaseSelector, peers: dict[socket.socket, socket.socket]) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._target_port), timeout=2)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            peers[one] = other
            selector.register(one, selectors.EVENT_READ)

    @staticmethod
    def _forward(
        selector: selectors.BaseSelector, peers: dict[socket.socket, socket.socket], source: socket.socket
    ) -> None:
        target = peers[source]
        try:
            data = source.recv(CHUNK_BYTES)
            if data:
                target.sendall(data)
                return
        except OSError:
            pass
        for connection in (source, target):
            peers.pop(connection, None)
            selector.unregister(connection)
            connection.close()
