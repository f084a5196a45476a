"""Ed25519 public keys, except weak keys for which signatures can be forged without a private key."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from activities.signatures.scheme import ConfigError

KEY_BYTES: Final = 32
SIGN_BIT: Final = 1 << 255
PRIME: Final = 2**255 - 19

D: Final = -121665 * pow(121666, -1, PRIME) % PRIME

SMALL_ORDER: Final = {
    0,
    1,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
    PRIME - 1,
}
"""The y coordinates of points of order 8 or less (RFC 8032, 5.1). A signature for such a public key can be made without
a private key."""


def public_key(raw: bytes) -> Ed25519PublicKey:
    """Return the public key of these 32 bytes; raises `ConfigError`."""
    if len(raw) != KEY_BYTES:
        raise ConfigError(f"a public key has {KEY_BYTES} bytes")
    y = int.from_bytes(raw, "little") % SIGN_BIT
    if y in SMALL_ORDER:
        raise ConfigError("a public key has a small order: everyone can sign for it, so ask the partner for another")
    if not _is_on_curve(y):
        raise ConfigError("invalid public key: its bytes are not the canonical form of a point on the curve")
    return Ed25519PublicKey.from_public_bytes(raw)


def _is_on_curve(y: int) -> bool:
    """Whether y belongs to a point, in canonical encoding (RFC 8032, 5.1.3): (y² - 1) / (d·y² + 1) is then a square."""
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
    return y < PRIME and pow(x_squared, (PRIME - 1) // 2, PRIME) == 1
