"""Annotations: the types of the contract's fields, found once for each process."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import get_type_hints

from workflows import contract


def resolve_annotations() -> None:
    """Replace the annotations of the contract's classes, which are text, by types. May be called again.

    The SDK asks for the types of a class's fields whenever it converts JSON to the class. It would compile the text
    each time, which takes three times as long as the conversion.
    """
    for value in vars(contract).values():
        if isinstance(value, type) and is_dataclass(value):
            value.__annotations__ = get_type_hints(value)
