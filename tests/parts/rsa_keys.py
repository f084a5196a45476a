"""RSA keys of the tests, made of known primes: to generate one costs tenths of a second in each process."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa

EXPONENT = 65537


def rsa_key(p: str, q: str) -> rsa.RSAPrivateKey:
    """The key of two primes, each in hexadecimal digits."""
    one, other = int(p, 16), int(q, 16)
    exponent = rsa.rsa_recover_private_exponent(EXPONENT, one, other)
    return rsa.RSAPrivateNumbers(
        p=one,
        q=other,
        d=exponent,
        dmp1=rsa.rsa_crt_dmp1(exponent, one),
        dmq1=rsa.rsa_crt_dmq1(exponent, other),
        iqmp=rsa.rsa_crt_iqmp(one, other),
        public_numbers=rsa.RSAPublicNumbers(EXPONENT, one * other),
    ).private_key(unsafe_skip_rsa_key_validation=True)


RSA = rsa_key(
    "f8479a4db69b9abf4d94e98476b40f9416e3310bb4a13654b4388323b2abdf130b0640f035d1a454ff869506ebd89ebb7abb"
    "5662933dc14859fd1688b992f64b8a968951f4c2b10261b04d9665fd8d8f56b87fb2bd686366090689098a2a6ddfd068a7d1"
    "b7d18f1dcc8de2bb4db4b51da5ad95af0331e2cfd8a23497ade0efd9",
    "d6ccd6b0e68e83fddb591a24d81f8f6964d971529871703492cececf7c3950c0c4919278ba0ffc1425ca8dfbc002efc75026"
    "2f6d96ba8165469157e8d664b3efb8337006932293ef6f4a528ca27d6ba78ed6991ac8687a6223896ba86fad4430ce2a6400"
    "7780bda0999b2e70f8e82ce089acc663cf31734db9dfe864a6e3976b",
)
"""2048 bits."""

OTHER_RSA = rsa_key(
    "dd6d073dd86547cb886be8bd7be2f13d74602d33f97e9eff05affb3f254fdf712d71e86c051cf0366b23b726270826526ef6"
    "3316884a2f03f078af210cd1781719cb0c51d91a82f27aa199f37714c09feb75dd6aa76cbf003f19a11dff8622b4cb4f4832"
    "bfc6447c0f6aa7861a8f76c68ecd637dc3ab05356c53ac26b5c218db",
    "d2eabdb0983bc3d5171e1d63e698c11594670a8950da8a5f16bdaec9a51a32d0cb6fb3e0577d7ff5dba8213bc70c5d9ab751"
    "f8598edd8b090f1a259d7517c747879f70755e391e66ace919b5d73d76dfba2a26832f6e485712cf454bb71138051d5f9cc4"
    "bbe938f96f53c8a526f12f7ed334d05738a5f1771433512033d5e79d",
)
"""2048 bits."""

SMALL_RSA = rsa_key(
    "f5599ccdd64958260662fe0e63a1123d06ae92dc6237cffe55b40da6ffe157eb336c4a5612a87f9d9ecf5ea63cfcd233b9b9"
    "0b005e6ae1c36f2743afb0430293",
    "e7c2c6c9241f11016c344592d71e226f0063ee24b48b40d21ad45dd05beebed09449d49bfc2a1c02a767a572af57f705ee4d"
    "3870242276e12c1540ad904db90b",
)
"""1024 bits: too few."""
