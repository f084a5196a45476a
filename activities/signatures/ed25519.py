"""Ed25519 public keys, without those by which anybody can sign."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from activities.signatures.scheme import ConfigError

KEY_BYTES: Final = 32
SIGN_BIT: Final = 1 << 255
P: Final = 2**255 - 19

SMALL_ORDER: Final = {
    0,
    1,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
    P - 1,
    P,
    P + 1,
}
"""The y coordinates of points of order 8 and less (RFC 8032, 5.1), two of them in both their encodings. To such a key a
signature can be made without any private one."""


def public_key(raw: bytes) -> Ed25519PublicKey:
    """The key of these 32 bytes; raises `ConfigError`."""
    if len(raw) != KEY_BYTES:
        raise ConfigError(f"a public key has {KEY_BYTES} bytes")
    if int.from_bytes(raw, "little") % SIGN_BIT in SMALL_ORDER:
        raise ConfigError("a public key is one by which anybody can sign")
    return Ed25519PublicKey.from_public_bytes(raw)
