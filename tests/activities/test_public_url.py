"""PUBLIC_URL, or the platform's variable in its place; and the address to listen on."""

from __future__ import annotations

import secrets

import pytest

from activities.environment import Environment, SettingsError
from activities.public_url import OWN_PATHS, PublicURL, read_public_url
from activities.settings import Settings
from activities.variables import PLATFORM_VARIABLES
from receiver.app import create_app
from receiver.cli.demo.stack import sample_partners
from receiver.sending.signals import Signals
from receiver.settings import WebSettings
from tests.parts.callbacks import URLS, no_temporal
from tests.support import KEY

HEROKU = {"DYNO": "web.1", "HEROKU_APP_DEFAULT_DOMAIN_NAME": "app-12ab.herokuapp.com"}
RENDER = {"RENDER_SERVICE_TYPE": "web", "RENDER_EXTERNAL_URL": "https://app.onrender.com"}
RAILWAY = {"RAILWAY_SERVICE_NAME": "app", "RAILWAY_PUBLIC_DOMAIN": "app.up.railway.app"}
LOCAL = {"PUBLIC_URL": "http://127.0.0.1:8000", "CALLBACK_KEYS": KEY, "PARTNERS": "identity"}
LOCAL |= sample_partners("http://127.0.0.1:8090")


def read(variables: dict[str, str], *, of_web: bool = False) -> PublicURL:
    env = Environment(variables)
    address = read_public_url(env, of_web=of_web)
    env.check()
    return address


def fault(variables: dict[str, str], *, of_web: bool = False) -> str:
    with pytest.raises(SettingsError) as raised:
        read(variables, of_web=of_web)
    return str(raised.value)


def web_settings(**changes: str) -> WebSettings:
    return WebSettings.from_env({**LOCAL, **changes})


def test_heroku_names_the_app_to_web_and_worker() -> None:
    expected = PublicURL("https://app-12ab.herokuapp.com", "HEROKU_APP_DEFAULT_DOMAIN_NAME")
    assert [read(HEROKU, of_web=of_web) for of_web in (True, False)] == [expected, expected]
    assert expected.facts["public_url_from"] == "HEROKU_APP_DEFAULT_DOMAIN_NAME"


@pytest.mark.parametrize(
    ("platform", "name", "url"),
    [
        (RENDER, "RENDER_EXTERNAL_URL", "https://app.onrender.com"),
        (RAILWAY, "RAILWAY_PUBLIC_DOMAIN", "https://app.up.railway.app"),
    ],
)
def test_a_services_own_address_is_believed_by_web_only(platform: dict[str, str], name: str, url: str) -> None:
    assert read(platform, of_web=True) == PublicURL(url, name)
    said = fault(platform)
    assert "PUBLIC_URL is not set" in said
    assert f"{name} here is this service's own address" in said


@pytest.mark.parametrize("platform", [HEROKU, RENDER, RAILWAY])
def test_a_set_public_url_wins_over_the_platforms(platform: dict[str, str]) -> None:
    found = read({**platform, "PUBLIC_URL": "https://hooks.example.com/"}, of_web=True)
    assert found == PublicURL("https://hooks.example.com", "PUBLIC_URL")
    assert "public_url_from" not in found.facts


@pytest.mark.parametrize(
    ("platform", "word"),
    [
        ({"DYNO": "web.1", "HEROKU_APP_NAME": "app"}, "heroku labs:enable runtime-dyno-metadata"),
        ({"RENDER_SERVICE_TYPE": "worker"}, "this service cannot know web's address"),
        ({"RAILWAY_SERVICE_NAME": "worker"}, "this service cannot know web's address"),
    ],
)
def test_the_fault_says_what_to_do_on_the_platform(platform: dict[str, str], word: str) -> None:
    assert word in fault(platform, of_web=True)


def test_a_platforms_wrong_address_is_a_fault_of_its_variable() -> None:
    assert "RAILWAY_PUBLIC_DOMAIN is not a plain" in fault({"RAILWAY_PUBLIC_DOMAIN": "a b"}, of_web=True)


@pytest.mark.parametrize("name", sorted(PLATFORM_VARIABLES))
def test_a_platforms_variable_alone_is_never_a_crash(name: str) -> None:
    env = Environment({name: "example.com"})
    read_public_url(env, of_web=False)
    assert [found.name for found in env.faults] == ([] if name.startswith("HEROKU") else ["PUBLIC_URL"])


@pytest.mark.parametrize("path", ["/hooks", "/a/b.c/~d-e_f", "/v1.0/..x"])
def test_a_public_url_may_have_a_path(path: str) -> None:
    assert read({"PUBLIC_URL": f"https://example.com{path}/"}).url == f"https://example.com{path}"


@pytest.mark.parametrize("path", ["//a", "/a//b", "/.", "/../a", "/a/..", "/%61", "/a;b", "/a:b"])
def test_a_path_that_clients_rewrite_is_refused(path: str) -> None:
    assert "has a path that clients may rewrite" in fault({"PUBLIC_URL": f"https://example.com{path}"})


@pytest.mark.parametrize("name", OWN_PATHS)
def test_a_path_like_one_of_the_receivers_is_refused(name: str) -> None:
    assert "begins like one of the receiver's own" in fault({"PUBLIC_URL": f"https://example.com/{name}/x"})


def test_the_receivers_own_paths_are_all_known() -> None:
    app = create_app(URLS, {}, Signals(no_temporal))
    assert {route.path.split("/")[1] for route in app.routes} | {"trial", "console"} == set(OWN_PATHS)  # type: ignore[attr-defined]


def test_allow_http_permits_http_in_a_private_network() -> None:
    plain = {"PUBLIC_URL": "http://hooks.internal:8000"}
    assert "ALLOW_HTTP=1 permits http" in fault(plain)
    assert "PUBLIC_URL is http" in fault({**plain, "ALLOW_HTTP": "0"})
    assert read({**plain, "ALLOW_HTTP": "1"}).url == "http://hooks.internal:8000"
    env = Environment({"ACME_URL": "http://acme.internal", "ALLOW_HTTP": "1"})
    assert (env.url("ACME_URL", fix="its address"), env.faults) == ("http://acme.internal", [])


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ({}, "127.0.0.1"),
        ({"PUBLIC_URL": "http://[::1]:8000"}, "::1"),
        ({"HOST": "::"}, "::"),
        ({"HOST": "[::]"}, "::"),
        ({"HOST": "10.1.2.3"}, "10.1.2.3"),
        ({"HOST": "localhost"}, "localhost"),
    ],
)
def test_host_is_where_the_receiver_listens(given: dict[str, str], host: str) -> None:
    assert web_settings(**given).shared.host == host


@pytest.mark.parametrize("host", ["hooks.example.com", "0.0.0.0:8000", "*", "256.1.1.1", "::g"])
def test_a_host_that_is_no_ip_address_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="HOST is not an IP address: use"):
        web_settings(HOST=host)


def test_keep_alive_is_longer_than_a_router_unless_set() -> None:
    assert [web_settings(**given).keep_alive for given in ({}, {"KEEP_ALIVE_SECONDS": "4060"})] == [100, 4060]
    with pytest.raises(SettingsError, match="KEEP_ALIVE_SECONDS is not a number from 1 to 7200"):
        web_settings(KEEP_ALIVE_SECONDS="0")


def test_the_worker_reads_no_address_that_only_web_may() -> None:
    given = {name: value for name, value in LOCAL.items() if name != "PUBLIC_URL"}
    given |= {**RENDER, "TRIAL": "1", "CALLBACK_KEYS": secrets.token_urlsafe(32)}
    for name in sample_partners(""):
        given.pop(name, None)
    assert WebSettings.from_env(given).shared.public_url == "https://app.onrender.com"
    with pytest.raises(SettingsError, match="PUBLIC_URL is not set"):
        Settings.from_env(given)
