"""The settings of the web process: the store's, and every fault at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from activities.environment import Environment, SettingsError
from activities.store.store import Store
from receiver.server import serve
from receiver.settings import WebSettings
from tests.support import KEY

LOCAL = "http://127.0.0.1:8000"
PUBLIC = "https://hooks.example.com"


def read(public_url: str, **variables: str) -> Store | None:
    env = Environment(variables)
    store = Store.read(env, public_url)
    env.check()
    return store


def test_without_a_url_there_is_no_store() -> None:
    assert read(PUBLIC) is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_paas_url_is_understood(scheme: str) -> None:
    store = read(PUBLIC, DATABASE_URL=f"{scheme}://u:p%40ss@db.example/x?sslmode=require")
    assert store is not None
    assert store.database.url.drivername == "postgresql+psycopg"
    assert (store.database.url.password, store.days) == ("p@ss", 30)
    assert "p%40ss" not in str(store.database)
    assert "p@ss" not in str(store.database)


def test_sqlite_on_a_paas_is_refused_unless_its_disk_lasts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with pytest.raises(SettingsError, match="which a deploy on a PaaS wipes"):
        read(PUBLIC, DATABASE_URL=url)
    assert read(PUBLIC, DATABASE_URL=url, ALLOW_SQLITE="1") is not None
    assert read(LOCAL, DATABASE_URL=url) is not None


def test_the_server_keeps_connections_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch, unused_port: int) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr("uvicorn.run", lambda app, **options: told.update(options))
    monkeypatch.setattr("receiver.server.stop_quietly", lambda: None)
    given = {"PUBLIC_URL": LOCAL, "CALLBACK_KEYS": KEY, "PARTNERS": "sandbox", "KEEP_ALIVE_SECONDS": "4060"}
    serve(WebSettings.from_env({**given, "HOST": "127.0.0.2", "PORT": str(unused_port)}))
    assert (told["timeout_keep_alive"], told["host"], told["port"]) == (4060, "127.0.0.2", unused_port)


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        WebSettings.from_env({"DATABASE_URL": "mysql://x", "RETENTION_DAYS": "0", "METRICS_TOKEN": "short"})
    names = {fault.name for fault in raised.value.faults}
    assert names == {"DATABASE_URL", "RETENTION_DAYS", "METRICS_TOKEN", "PUBLIC_URL", "CALLBACK_KEYS", "PARTNERS"}
