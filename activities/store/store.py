"""Store: reads from the environment whether, where and for how long deliveries are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from activities.environment import Environment, is_loopback
from activities.store.errors import BadDatabaseURL
from activities.variables import VARIABLES

if TYPE_CHECKING:
    from activities.store.database import Database

DEFAULT_DAYS: Final = 30
FIX: Final = "use postgresql://USER:PASSWORD@HOST/NAME, or sqlite:///FILE on one machine with a lasting disk"


@dataclass(frozen=True)
class Store:
    """A store.

    days: how long a delivery is kept. Pending and parked deliveries are kept until they are neither.
    packs: whether body, callback and headers of new deliveries are compressed together; see `packing`.
    """

    database: Database
    days: int = DEFAULT_DAYS
    packs: bool = False

    @classmethod
    def read(cls, env: Environment, public_url: str = "") -> Self | None:
        """The store of DATABASE_URL, or None if it is not set. Invalid settings become faults of `env`.

        public_url: where partners reach the receiver. If it is public, a SQLite file is refused unless ALLOW_SQLITE=1
        says that the disk is persistent: a PaaS wipes the disk at every deploy.
        """
        days = env.number("RETENTION_DAYS", fix=VARIABLES["RETENTION_DAYS"], default=DEFAULT_DAYS, least=1, most=3650)
        url = env.optional("DATABASE_URL")
        if not url:
            return None
        # Imported only if there is a store: loading SQLAlchemy takes longer than most commands.
        from activities.store.database import Database

        try:
            database = Database(url)
        except BadDatabaseURL as error:
            env.fault("DATABASE_URL", str(error), FIX)
            return None
        public = bool(public_url) and not is_loopback(public_url)
        if database.is_sqlite and public and env.optional("ALLOW_SQLITE") != "1":
            problem = "names SQLite, which a deploy on a PaaS wipes"
            env.fault("DATABASE_URL", problem, "attach PostgreSQL, or set ALLOW_SQLITE=1 if this disk lasts")
        return cls(database, days, packs=env.switch("PACK_DELIVERIES"))
