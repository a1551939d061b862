"""Registries that do nothing but tokens, and somebody who signs whatever he likes."""

import base64
import itertools
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.access.scopes import Scopes
from registry.metadata import schema
from registry.metadata.database import Database
from registry.tokens import TokenInvalid, Tokens
from tests import places
from tests.access.clock import SetClock

SERVICE = "entrepot-123456789012"
SECOND = 1_700_000_000  # where the clock stands
SCOPES = Scopes({"acme/app": frozenset({"pull", "push"}), "b": frozenset({"delete"})}, has_catalog=True)
ENTRY = {"type": "repository", "name": "acme/app", "actions": ["pull", "push"]}
CATALOG = {"type": "registry", "name": "catalog", "actions": ["*"]}


class Absence(Enum):
    """Of a member that a document shall not have."""

    MISSING = "missing"


MISSING: object = Absence.MISSING


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def write(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def changed(members: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {key: kept for key, kept in (members | {name: value}).items() if kept is not MISSING}


class Forger:
    """Signs whatever it is told to, with the registry's own key or with another."""

    def __init__(self, tokens: Tokens, kid: str, private_key: bytes) -> None:
        self.tokens = tokens
        self.key = Ed25519PrivateKey.from_private_bytes(private_key)
        self.header: dict[str, Any] = {"alg": "EdDSA", "kid": kid, "typ": "entrepot+jwt"}

    def forge(self, header: dict[str, Any], content: bytes, sign: Callable[[bytes], bytes] | None = None) -> str:
        signed = f"{encode(write(header))}.{encode(content)}"
        return f"{signed}.{encode((sign or self.key.sign)(signed.encode()))}"

    def refuse(self, token: str) -> TokenInvalid:
        """The refusal, which tells nothing of the token. Twice: what is refused is not remembered."""
        with pytest.raises(TokenInvalid):
            self.tokens.verify(token)
        with pytest.raises(TokenInvalid) as refusal:
            self.tokens.verify(token)
        assert "canary" not in str(refusal.value)
        assert token[-20:] == "" or token[-20:] not in str(refusal.value)
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
        return refusal.value


async def open_database(folder: Path) -> Database:
    """That of a registry in the folder, which it makes."""
    opened = places.open_database(folder)
    await opened.write(schema.migrate)
    await opened.write(lambda tx: schema.get_or_make_instance(tx, "instance", "123456789012", 0))
    return opened


async def start(database: Database, clock: SetClock, *, most_verified: int = 10_000) -> Tokens:
    """What each process of one registry does."""
    numbers = itertools.count()
    tokens = Tokens(database, clock, lambda: f"id {next(numbers)}", most_verified=most_verified)
    await tokens.start(SERVICE)
    return tokens
