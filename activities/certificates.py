"""Certificates: checks the certificates and keys of connections to Temporal and to partners before they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio.service import TLSConfig

from activities.environment import Environment

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate


def check_certificates(tls: TLSConfig, env: Environment) -> None:
    """Add a fault for each certificate or key that cannot be used: the SDK tells it late, and not which it is."""
    if tls.server_root_ca_cert:
        read_certificate(tls.server_root_ca_cert, "TEMPORAL_TLS_SERVER_CA_CERT", env)
    if bool(tls.client_cert) != bool(tls.client_private_key):
        missing, given = ("KEY", "CERT") if tls.client_cert else ("CERT", "KEY")
        fault = f"is set, and TEMPORAL_TLS_CLIENT_{missing} is not"
        env.fault(f"TEMPORAL_TLS_CLIENT_{given}", fault, "set both, each with _PATH or _DATA, or neither")
    elif tls.client_cert and tls.client_private_key:
        names = ("TEMPORAL_TLS_CLIENT_CERT", "TEMPORAL_TLS_CLIENT_KEY")
        check_pair(tls.client_cert, tls.client_private_key, names, env)


def check_pair(certificate: bytes, key: bytes, names: tuple[str, str], env: Environment) -> None:
    """Add a fault for a client certificate or a key that cannot be used. names: of their variables."""
    read, private = read_certificate(certificate, names[0], env), _private_key(key, names[1], env)
    if read and private and read.public_key() != private.public_key():
        fix = "give the key with which the certificate was requested"
        env.fault(names[1], f"is not the key of {names[0]}", fix)


def read_certificate(pem: bytes, name: str, env: Environment) -> Certificate | None:
    """Return the first certificate of the variable `name`; None, and a fault, if it cannot be read."""
    from cryptography.x509 import load_pem_x509_certificates  # takes 40 ms, and few clients have certificates

    try:
        return load_pem_x509_certificates(pem)[0]
    except ValueError:
        env.fault(name, "holds no certificate in PEM", "give what begins with -----BEGIN CERTIFICATE-----")
        return None


def _private_key(pem: bytes, name: str, env: Environment) -> PrivateKeyTypes | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, None)
    except TypeError:
        env.fault(name, "is protected by a password", "give it without: openssl pkey -in KEY")
    except (ValueError, UnsupportedAlgorithm):
        fix = "give what begins with -----BEGIN PRIVATE KEY-----"
        env.fault(name, "holds no private key in PEM", fix)
    return None
