"""A registry with users on a loopback socket, whose clock the test sets, and clients that log in to it."""

import asyncio
import base64
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from registry.access.grants import Grant
from registry.app import Registry
from registry.identity import Actor
from registry.metadata import schema
from registry.metadata.changes import Change
from tests.access.clock import SetClock
from tests.api.content import Repository
from tests.api.running import RunningServer
from tests.api.wire import Call, Connection, Reply, keep_laws, written
from tests.places import make_config

T = TypeVar("T")
Header = tuple[str, str]

OPERATOR = Actor("cli:root")
ADMIN = "root"
PASSWORD = "correct horse battery"  # noqa: S105  # of every user of these tests
FORM = ("Content-Type", "application/x-www-form-urlencoded")
PAUSE = 120_000  # milliseconds after which failed logins are forgiven, and passwords still known
_numbers = itertools.count(1)


def fresh_user() -> str:
    return f"user-{next(_numbers)}"


def fresh_address() -> Header:
    """Of a client that nobody has seen yet, as a trusted proxy tells it."""
    number = next(_numbers)
    return ("X-Forwarded-For", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")


def basic(name: str, password: str = PASSWORD) -> Header:
    return ("Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())


def bearer(token: str) -> Header:
    return ("Authorization", f"Bearer {token}")


class House(RunningServer):
    """A registry whose admin is `root`, behind a proxy on this machine: each call comes from an address of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = SetClock()
        settings = {"trusted_proxies": "127.0.0.1"} | settings
        self._is_behind_proxy = bool(settings["trusted_proxies"])
        super().__init__(folder, clock=self.clock, **settings)
        self._runner = asyncio.Runner()
        self.registry = Registry(make_config(folder), clock=self.clock)
        self.do(lambda registry: registry.join())
        self.service = f"entrepot-{self.do(lambda registry: registry.database.read(schema.get_registry_id))}"

    def stop(self) -> None:
        super().stop()
        self.registry.close()
        self._runner.close()

    def do(self, work: Callable[[Registry], Awaitable[T]]) -> T:
        """What the command line does beside the running server."""

        async def run() -> T:
            return await work(self.registry)

        return self._runner.run(run())

    def add_user(self, *grants: tuple[str, ...], name: str = "", is_admin: bool = False) -> str:
        """A fresh user with grants of (repositories, actions, tags); returns the name."""
        name = name or fresh_user()
        self.do(lambda registry: registry.identities.add_user(name, PASSWORD, OPERATOR, is_admin=is_admin))
        for grant in grants:
            self.grant(name, *grant)
        return name

    def grant(self, name: str, *grant: str) -> None:
        self.do(lambda registry: registry.identities.grant(name, Grant.parse(*grant), OPERATOR))

    def changes(self) -> list[Change]:
        """The whole change log."""
        return self.do(lambda registry: registry.audit.list_after(0, 0, 1_000_000))

    def send(self, call: Call) -> Reply:
        """Make a call; OAuth's members of an error stand beside the registry's, and are not held against its laws."""
        with Connection(self.port) as connection:
            connection.write(written(_from_somewhere(call) if self._is_behind_proxy else call, self.port))
            reply = connection.read(call.method)
        keep_laws(call.method, _without_oauth(reply))
        return reply

    def call(self, method: str, path: str, *headers: Header, body: bytes | tuple[bytes, ...] = b"") -> Reply:
        return self.send(Call(method, path, headers, body))

    def ask(self, *scopes: str, headers: tuple[Header, ...] = (), **parameters: str) -> Reply:
        """`GET /token`."""
        query = [("service", self.service), *(("scope", scope) for scope in scopes), *parameters.items()]
        return self.call("GET", f"/token?{urlencode(query)}", *headers)

    def log_in(self, name: str, *scopes: str, password: str = PASSWORD) -> str:
        """A token by `GET /token`."""
        reply = self.ask(*scopes, headers=(basic(name, password),))
        assert reply.status == 200, reply
        return str(reply.json["token"])

    def post(self, *headers: Header, **form: str) -> Reply:
        """`POST /token` with a form."""
        return self.call("POST", "/token", FORM, *headers, body=urlencode(form).encode())

    def exchange(self, id_token: str, **changed: str) -> Reply:
        """RFC 8693's token exchange; a parameter that is changed to nothing is left out."""
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": id_token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        } | changed
        return self.post(**{name: value for name, value in form.items() if value})


class OwnRepository(Repository):
    """A repository as one caller, who sends `header` with each call, sees it."""

    def __init__(self, house: House, header: Header, name: str = "") -> None:
        super().__init__(house, name)
        self._header = header

    def call(self, method: str, path: str, *headers: Header, body: bytes | tuple[bytes, ...] = b"") -> Reply:
        return super().call(method, path, self._header, *headers, body=body)


@contextlib.contextmanager
def keeping(folder: Path, **settings: Any) -> Iterator[House]:
    """A house with its admin, until the block ends."""
    house = House(folder, **settings)
    try:
        house.add_user(name=ADMIN, is_admin=True)
        yield house
    finally:
        house.stop()


def claims_of(token: str) -> dict[str, Any]:
    """What a token says; nobody checks its signature."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def access_of(reply: Reply) -> dict[str, list[str]]:
    """What the token of an answer opens: actions by `type:name`."""
    assert reply.status == 200, reply
    access = claims_of(reply.json["token"])["access"]
    return {f"{entry['type']}:{entry['name']}": entry["actions"] for entry in access}


def _from_somewhere(call: Call) -> Call:
    if any(name.lower() == "x-forwarded-for" for name, _ in call.headers):
        return call
    return replace(call, headers=(*call.headers, fresh_address()))


def _without_oauth(reply: Reply) -> Reply:
    if reply.status < 400 or b'"error"' not in reply.body:
        return reply
    assert reply.json["error"]
    assert reply.json["error_description"]
    kept = {name: value for name, value in reply.json.items() if name not in {"error", "error_description"}}
    return replace(reply, body=json.dumps(kept).encode())
