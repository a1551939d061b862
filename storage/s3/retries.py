"""How often calls to the store are tried again: few times each, and ever fewer when many fail.

So an outage that all uploads meet at once is not answered with a storm.
"""

import random

_FULL = 100.0  # tokens
_PRICE = 5.0  # of one retry: twenty calls may fail at once and be tried again
_REFUND = 0.5  # by each success
_SHORTEST = 0.1  # seconds
_LONGEST = 5.0  # seconds


class Retries:
    """One budget for all calls of a client. `chance` spreads the waits."""

    def __init__(self, chance: random.Random, attempts: int) -> None:
        self.attempts = attempts
        self._chance = chance
        self._tokens = _FULL

    def take(self, attempt: int) -> float | None:
        """How many seconds to wait before the attempt after this one (from 1); None: give up."""
        if attempt >= self.attempts or self._tokens < _PRICE:
            return None
        self._tokens -= _PRICE
        longest = min(_LONGEST, _SHORTEST * 4**attempt)
        return self._chance.uniform(longest / 4, longest)

    def succeed(self) -> None:
        self._tokens = min(_FULL, self._tokens + _REFUND)
