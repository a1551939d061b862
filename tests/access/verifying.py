"""A registry that does nothing but believe id tokens, or not."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from registry.access.trusts import TrustRule
from registry.federation import Federation, Fetch, IdTokenInvalid, fetch
from tests.access.clock import SetClock
from tests.access.issuer import Issuer

T = TypeVar("T")

MAIN = {"sub": "repo:acme/app:ref:refs/heads/main"}


def rule(
    issuer: Issuer, claims: dict[str, str] | None = None, *, audience: str = "entrepot", keys: str = ""
) -> TrustRule:
    """For the tokens that the issuer usually mints, unless told otherwise."""
    return TrustRule.make(issuer.url, audience, claims or MAIN, keys)


class Verifier:
    """Verifies in an event loop of its own until it is closed, and waits `patience` seconds for each document."""

    def __init__(self, clock: SetClock, fetch: Fetch | None = None) -> None:
        self.clock = clock
        self.patience = 5.0
        self.federation = Federation(clock, fetch or self._fetch)
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def _fetch(self, url: str) -> bytes:
        return fetch(url, self.patience)

    def close(self) -> None:
        self._runner.close()

    def verify(self, token: str, *rules: TrustRule) -> tuple[dict[str, Any], list[int]]:
        return self.run(self.federation.verify(token, rules))

    def believes(self, token: str, *rules: TrustRule) -> bool:
        return bool(self.verify(token, *rules)[1])

    def refusal(self, token: str, *rules: TrustRule) -> str:
        """Why the token is refused, which it must be; the reason never holds the token or its signature."""
        with pytest.raises(IdTokenInvalid) as refused:
            self.verify(token, *rules)
        reason = str(refused.value)
        assert reason
        assert reason.isprintable()
        assert len(reason) < 2000
        assert not any(part in reason for part in token.split(".") if len(part) > 20)
        return reason


def verifying(clock: SetClock, fetch: Fetch | None = None) -> Iterator[Verifier]:
    verifier = Verifier(clock, fetch)
    yield verifier
    verifier.close()
