"""A public https address for processes on this machine: a name, a certificate that they trust, and a TLS proxy."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = "hooks.test"

PATCH = """
import anyio
import certifi

connect_tcp = anyio.connect_tcp


async def connect(remote_host, *args, **options):
    return await connect_tcp("127.0.0.1" if remote_host == "{name}" else remote_host, *args, **options)


anyio.connect_tcp = connect
certifi.where = lambda: "{certificate}"
"""
"""Run by each process at its start: httpx finds the name on this machine, and trusts the certificate."""


@dataclass(frozen=True)
class PublicAddress:
    """host: the name and port. environment: what a process needs to reach it. certificate: the file to trust."""

    host: str
    environment: dict[str, str]
    certificate: Path


@asynccontextmanager
async def public_address(folder: Path, to_port: int) -> AsyncIterator[PublicAddress]:
    """Serve the address, and pass on what arrives to a port of loopback, as a router does."""
    certificate, key = _make_certificate(folder)
    (folder / "sitecustomize.py").write_text(PATCH.format(name=NAME, certificate=certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    writers: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        inside_reader, inside_writer = await asyncio.open_connection("127.0.0.1", to_port)
        writers.append(inside_writer)
        await asyncio.gather(_pass_on(reader, inside_writer), _pass_on(inside_reader, writer))

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context, ssl_shutdown_timeout=1)
    port = server.sockets[0].getsockname()[1]
    try:
        yield PublicAddress(f"{NAME}:{port}", {"PYTHONPATH": str(folder)}, certificate)
    finally:
        server.close()
        for writer in writers:
            # A TLS connection that was lost and then closed has let go of what abort() needs.
            if not writer.is_closing():
                writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
