"""Ports of the servers: chosen among free ones at the first start, then kept.

Ports are below the kernel's range for outgoing connections: one of those could otherwise occupy a server's port while
the server restarts.
"""

import secrets
import socket
from collections import deque
from collections.abc import Iterable

from devtools.localcluster.errors import StateUnusable
from devtools.localcluster.state import StateFolder, read_json, write_json

LOOPBACK = "127.0.0.1"
FIRST_PORT = 15_000
LAST_PORT = 31_999
ATTEMPTS = 1_000

_reserved: deque[socket.socket] = deque(maxlen=256)
"""Sockets on the ports chosen last, so that another cluster that starts now does not choose them too."""


def is_port_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that was closed a moment ago does not make the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def read_ports(state: StateFolder) -> dict[str, int]:
    """The recorded ports by server name; empty before the first start."""
    remembered = read_json(state.ports_file)
    return {str(name): int(port) for name, port in remembered.items()} if isinstance(remembered, dict) else {}


def assign_ports(state: StateFolder, names: Iterable[str], *, replace_taken: bool) -> dict[str, int]:
    """A port for each name: the recorded one, else a free one. `replace_taken`: only while none of our servers runs."""
    ports = read_ports(state)
    before = dict(ports)
    for name in names:
        if name not in ports or (replace_taken and not is_port_free(ports[name])):
            ports[name] = _choose_port(avoid=set(ports.values()))
    if ports != before:
        write_json(state.ports_file, ports)
    return ports


def choose_free_port() -> int:
    """For a server that does not outlive this process."""
    return _choose_port(avoid=set())


def _choose_port(*, avoid: set[int]) -> int:
    for _ in range(ATTEMPTS):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT + 1)
        if port not in avoid and _reserve(port):
            return port
    raise StateUnusable(f"no free port on {LOOPBACK} between {FIRST_PORT} and {LAST_PORT}")


def _reserve(port: int) -> bool:
    """Binds the port, unless any socket is bound to it. Servers can still bind it: they set SO_REUSEADDR, as this
    socket does once it has the port, and it does not listen."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.bind((LOOPBACK, port))
    except OSError:
        holder.close()
        return False
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if len(_reserved) == _reserved.maxlen:
        _reserved.popleft().close()
    _reserved.append(holder)
    return True
