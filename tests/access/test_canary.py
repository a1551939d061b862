"""No secret is ever found where it does not belong: unique ones go through every path, and then everything is read."""

import base64
import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from registry.access.grants import Grant
from registry.access.trusts import TrustRule
from registry.api.observe import _without_secrets
from registry.metadata.database import Transaction
from tests.access.issuer import make_key
from tests.access.login import FORM, OPERATOR, House, basic, bearer, keeping
from tests.access.test_credentials import ISSUER, mint
from tests.api.wire import Reply

CANARY = "c4n4ry"
# Columns that are made for what is derived from a secret, or for a key; nothing else may look like one.
MADE_FOR_SECRETS = {("identity", "secret"), ("signing_key", "private_key")}


@dataclass
class Told:
    """Everything that anybody but the one who asked can see: errors, lines of the log."""

    replies: list[Reply] = field(default_factory=list)
    lines: Sequence[Any] = ()
    tables: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)


def basic_text(name: str, password: str) -> str:
    return basic(name, password)[1].removeprefix("Basic ")


def send_everywhere(house: House, secrets: dict[str, str]) -> Iterator[Reply]:
    """Each secret in the place of each other: as a password, a name, a token, a parameter and a header."""
    for secret in secrets.values():
        quoted = quote(secret)
        for header in (
            basic("alice", secret), basic(secret, "x"), basic(secret, secret), basic("oidc", secret), bearer(secret),
            ("Authorization", secret), ("Authorization", f"Digest {secret}"), ("Cookie", f"token={secret}"),
            ("X-Auth-Token", secret), ("X-Registry-Auth", secret), ("Proxy-Authorization", f"Basic {secret}"),
            ("X-Identity-Token", secret),
        ):  # fmt: skip
            yield house.call("GET", "/v2/", header)
            yield house.call("GET", "/v2/other/app/tags/list", header)
            yield house.ask(headers=(header,))
            yield house.call("GET", "/token", header)
        for name in ("password", "access_token", "token", "id_token", "client_secret", "X-Amz-Signature", "PASSWORD"):
            yield house.call("GET", f"/v2/?{name}={quoted}")
            yield house.call("GET", f"/token?{name}={quoted}&service=x")
            yield house.call("POST", f"/token?{name}={quoted}", FORM, body=b"")
            yield house.call("GET", f"/nowhere?a=b&{name}={quoted}")
        for form in (
            {"username": "alice", "password": secret},
            {"username": secret, "password": "x"},
            {"username": "alice", "password": "x", "client_id": secret},
            {"grant_type": "refresh_token", "refresh_token": secret},
            {"grant_type": secret},
            {"service": secret},
        ):
            yield house.post(**{"grant_type": "password", "service": house.service} | form)
        yield house.exchange(secret)
        yield house.exchange("a.b.c", audience=secret)
        yield house.exchange("a.b.c", subject_token_type=secret)
        house.clock.now += 120_000  # limits begin anew


@contextlib.contextmanager
def listening(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    """Every line of the program, and of its libraries at every level."""
    lines: list[Any] = []
    with caplog.at_level(logging.DEBUG), capture_logs() as entries:
        yield lines
    lines += [*entries, caplog.text]


def test_canaries(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Passwords, secrets, tokens and keys are in no line of the log, no answer to others, and no table in the clear."""
    key = make_key("EdDSA", "canary")
    password = f"{CANARY}-password"
    with listening(caplog) as lines, keeping(tmp_path) as house:
        house.do(lambda registry: registry.identities.add_user("alice", password, OPERATOR))
        house.grant("alice", "acme/*", "pull,push")
        grant = Grant.parse("acme/*", "pull")
        rule = TrustRule.make(ISSUER, "entrepot", {"sub": "repo:acme/app"}, json.dumps({"keys": [key.jwk]}))
        robot = house.do(lambda registry: registry.identities.add_robot("robot", [grant], None, OPERATOR))
        house.do(lambda registry: registry.identities.add_trust("ci", rule, [grant], OPERATOR))
        id_token = mint(house.clock, key)
        form = {"grant_type": "password", "service": house.service}
        working = [
            house.ask("repository:acme/app:pull", headers=(basic("alice", password),)),
            house.post(**form, username="alice", password=password),
            house.post(**form, username="robot", password=robot),
            house.post(**form, username="oidc", password=id_token),
            house.exchange(id_token),
        ]
        assert [reply.status for reply in working] == [200] * len(working)
        token = str(working[0].json["token"])
        assert house.call("GET", "/v2/", bearer(token)).status == 200
        private = house.do(lambda registry: registry.database.read(_private_keys))[0]
        texts = {
            "password": password,
            "wrong password": f"{CANARY}-wrong",
            "robot's secret": robot,
            "id token": id_token,
            "registry token": token,
            "Basic": basic_text("alice", password),
        }
        replies = list(send_everywhere(house, texts))
        tables = house.do(lambda registry: registry.database.read(_everything))
    secrets = {title: text.encode() for title, text in texts.items()}
    secrets |= {"signature": token.rpartition(".")[2].encode(), "private key": private}
    secrets |= {"private key, encoded": base64.b64encode(private)[:40], "private key, hex": private.hex().encode()}
    told = Told(replies, lines, tables, secrets)
    assert found_in_replies(told) == []
    assert found_in_lines(told) == []
    assert found_in_tables(told) == []
    assert {reply.status for reply in replies} <= {200, 400, 401, 404, 429}
    assert len([line for line in lines if isinstance(line, dict) and line["event"] == "request"]) > 300


def found_in_replies(told: Told) -> list[str]:
    """Answers that hold a secret, but for those that give the token that was asked for."""
    return [
        title
        for reply in told.replies
        for title, secret in told.secrets.items()
        if secret in reply.body + repr(reply.headers).encode()
    ]


def found_in_lines(told: Told) -> list[str]:
    texts = [str(line) for line in told.lines]
    return [
        f"{title}: {text[:500]}" for text in texts for title, secret in told.secrets.items() if _is_in(secret, text)
    ]


def found_in_tables(told: Told) -> list[str]:
    """A private key is in its own column; everything else is nowhere, hashes in their column being something else."""
    return [
        f"{title} in {column}"
        for column, values in told.tables.items()
        for title, secret in told.secrets.items()
        for value in values
        if _is_in(secret, value) and (column not in MADE_FOR_SECRETS or not title.startswith("private key"))
    ]


def _is_in(secret: bytes, value: object) -> bool:
    content = value if isinstance(value, bytes) else str(value).encode()
    return secret in content or quote(secret).encode() in content


def _private_keys(tx: Transaction) -> list[bytes]:
    return [row[0] for row in tx.run("SELECT private_key FROM signing_key")]


def _everything(tx: Transaction) -> dict[tuple[str, str], list[Any]]:
    """By the database's own word on what it has: no list of ours could forget a column here."""
    columns = tx.run(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        if tx.is_shared
        else "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table'"
    )
    assert len(columns) > 100
    return {(table, column): [row[0] for row in tx.run(f"SELECT {column} FROM {table}")] for table, column in columns}


QUERIES = [
    ("", ""),
    ("n=10&last=token", "n=10&last=token"),
    ("mount=sha256:0&from=password/app", "mount=sha256:0&from=password/app"),
    ("password=x", "password=***"),
    ("n=5&password=x&c=d", "n=5&password=***&c=***"),
    ("PassWord=x", "PassWord=***"),
    ("pass%77ord=x", "pass%77ord=***"),
    ("password=x=y=z", "password=***"),
    ("password=", "password=***"),
    ("password", "password"),
    ("n=5;token=x", "n=5;token=***"),
    ("access_token=x&refresh_token=y&id_token=z", "access_token=***&refresh_token=***&id_token=***"),
    ("subject_token=x&assertion=y&client_secret=z", "subject_token=***&assertion=***&client_secret=***"),
    ("X-Amz-Algorithm=A&X-Amz-Signature=x", "X-Amz-Algorithm=***&X-Amz-Signature=***"),
    ("X-Amz-Security-Token=x&X-Amz-Credential=y", "X-Amz-Security-Token=***&X-Amz-Credential=***"),
    ("offline_token=true&account=alice", "offline_token=true&account=alice"),
    ("+password=x", "+password=***"),
    ("password[]=x", "password[]=***"),
    ("?password=x", "?password=***"),
    ("&&=x&=&", "&&=***&=***&"),
    ("pwd=x&jwt=y&credentials=z&accessToken=t&user=ada:pw", "pwd=***&jwt=***&credentials=***&accessToken=***&user=***"),
]


@pytest.mark.parametrize(("query", "shown"), QUERIES)
def test_queries(query: str, shown: str) -> None:
    """Only the values of parameters that the API knows are shown."""
    assert _without_secrets(query) == shown
