"""Servers that require TLS: a proxy that terminates TLS for a real PostgreSQL or Valkey, and its certificates.

The servers of our wheels are built without TLS; these tests cover our side, with the real client libraries.
"""

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
CHUNK_BYTES = 65536
LIFETIME = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """Files of a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority of one test. `root` is its own certificate."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        is_authority = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._build(self._name, self._key).add_extension(is_authority, critical=True)
        self.root = folder / f"{name}.pem"
        self.root.write_bytes(_encode(certificate.sign(self._key, hashes.SHA256())))

    def issue(self, name: str) -> Identity:
        """For 127.0.0.1 and localhost, and for `name` as a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = self._build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        certificate = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        identity = Identity(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        identity.certificate.write_bytes(_encode(certificate.sign(self._key, hashes.SHA256())))
        identity.key.touch(mode=0o600)
        encryption = serialization.NoEncryption()
        identity.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return identity

    def _build(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - LIFETIME)
            .not_valid_after(now + LIFETIME)
        )


def _encode(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class TlsFront:
    """Accepts TLS connections only and forwards their data to `port`. `accepted`: number of finished handshakes."""

    def __init__(self, context: ssl.SSLContext, port: int, *, is_postgres: bool) -> None:
        self._context = context
        self._target_port = port
        self._is_postgres = is_postgres
        self.port = 0
        self.accepted = 0

    async def serve(self, is_ready: threading.Event, has_ended: asyncio.Event) -> None:
        tls = None if self._is_postgres else self._context
        server = await asyncio.start_server(self._take, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        is_ready.set()
        await has_ended.wait()
        server.close()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if self._is_postgres:
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                    writer.close()  # as a server with nothing but `hostssl` lines would, less politely
                    return
                writer.write(b"S")
                await writer.start_tls(self._context)
            self.accepted += 1
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
            await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def open_tls_front(
    identity: Identity, port: int, *, is_postgres: bool, clients: Path | None = None
) -> Iterator[TlsFront]:
    """`clients`: the authority that a client's certificate has to come from; None: none is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    front = TlsFront(context, port, is_postgres=is_postgres)
    is_ready, has_ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(front.serve(is_ready, has_ended),), daemon=True)
    thread.start()
    is_ready.wait()
    try:
        yield front
    finally:
        loop.call_soon_threadsafe(has_ended.set)
        thread.join()
