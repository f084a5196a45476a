"""The errors of the kept deliveries, apart from `archive`, which imports SQLAlchemy."""

from __future__ import annotations

from activities.store.errors import StoreAway


class NoSuchDelivery(Exception):
    """No delivery has this id, or several ids begin with the given text."""


class NeverForwarded(NoSuchDelivery):
    """This delivery is never forwarded: it was imported, or never had a signal."""


class PartlyAdded(StoreAway):
    """The store went away while deliveries were being added. The message says how many were added."""
