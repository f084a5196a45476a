"""The scheme `hmac`, whose options are arguments, and a class for every provider with a row of options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from activities.signatures.hmac_options import NUMBER_PLACE, ROWS, Options
from activities.signatures.plain_hmac import HmacScheme
from activities.signatures.scheme import DEFAULT_TOLERANCE, Scheme

SAMPLE_HEX_KEY: Final = b"not-a-secret-not-a-secret-not-a-".hex()


class GenericHmac(HmacScheme):
    """An HMAC that options describe, for a provider that has no name of its own: see `Options`.

    Without a timestamp, a captured request stays valid: make sure that its effect cannot happen twice. Without the body
    in `signed`, anyone who has seen a signature can send any body with it. If you may choose the template, put a
    character between its places. With `{url}{body}` and a URL that has a query, a forger could move the beginning of
    the body to the end of the URL.
    """

    name = "hmac"
    options = tuple(field.name for field in fields(Options))
    sample_secret = ""

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        header: str = "",
        signature: str = "",
        prefix: str = "",
        form: str = "",
        separator: str = "",
        encoding: str = "hex",
        algorithm: str = "sha256",
        key: str = "text",
        signed: str = "body",
        timestamp_header: str = "",
        timestamp: str = "",
        time_unit: str = "s",
        id_header: str = "",
        tolerance: int = DEFAULT_TOLERANCE,
    ) -> None:
        self._set_up(
            Options(
                header=header,
                signature=signature,
                prefix=prefix,
                form=form,
                separator=separator,
                encoding=encoding,
                algorithm=algorithm,
                key=key,
                signed=signed,
                timestamp_header=timestamp_header,
                timestamp=timestamp,
                time_unit=time_unit,
                id_header=id_header,
            )
        )
        Scheme.__init__(self, secrets, tolerance=tolerance)


def schemes() -> dict[str, type[Scheme]]:
    """Make a class for every row, and add the generic scheme."""
    made: dict[str, type[Scheme]] = {
        name: type(
            f"{name.title().replace('-', '')}Hmac",
            (HmacScheme,),
            {
                "name": name,
                "row": row,
                "header": row.options.header.replace(NUMBER_PLACE, "1"),
                "sample_secret": SAMPLE_HEX_KEY if row.key_bytes else Scheme.sample_secret,
                "__doc__": f"{name}: HMAC-{row.options.algorithm} of `{row.options.signed}`. {row.note}".strip(),
            },
        )
        for name, row in ROWS.items()
    }
    return {**made, GenericHmac.name: GenericHmac}
