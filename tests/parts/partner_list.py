"""The list of partners that a test has in place of the project's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from activities.partners import PARTNERS
from activities.partners.partner import PartnerFactory


def list_only(monkeypatch: pytest.MonkeyPatch, partners: Mapping[str, PartnerFactory]) -> None:
    """Let only these partners be listed.

    The list itself is changed: a module that a test is the first to import would keep another list for ever.
    """
    for name in tuple(PARTNERS):
        monkeypatch.delitem(PARTNERS, name)
    for name, factory in partners.items():
        monkeypatch.setitem(PARTNERS, name, factory)
