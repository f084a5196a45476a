"""A tunnel to a port of this machine: a TLS server with a certificate of an authority of its own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.parts.temporal import START_TIMEOUT

HOST = "0.0.0.0"
"""An address that leads to this machine, and that our checks take for a public one."""


@dataclass
class Tunnel:
    """authority: the file of its authority's certificate. connections: how many it has led on."""

    url: str
    authority: Path
    connections: int = 0


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for HOST that is its own authority, and its key; return both files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority for tests")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST)), x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(hosts, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "authority.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(*plain))
    return certificate_file, key_file


@contextmanager
def tunnel(folder: Path, port: int) -> Iterator[Tunnel]:
    """A tunnel to this port, in a thread of its own."""
    certificate, key = write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made, began, stop = Tunnel("", certificate), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def lead_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    async def serve() -> None:
        server = await asyncio.start_server(lead_on, "127.0.0.1", 0, ssl=context)
        made.url = f"https://{HOST}:{server.sockets[0].getsockname()[1]}"
        loops.append(asyncio.get_running_loop())
        began.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert began.wait(START_TIMEOUT)
    try:
        yield made
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until the reader's end, and pass the end on."""
    # Also when it is cancelled: a server's callback that ends so is reported as an error.
    with contextlib.suppress(OSError, asyncio.CancelledError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
