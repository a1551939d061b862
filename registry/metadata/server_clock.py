"""The clock of a database server, known here without asking it each time."""

import math
import threading
import time

_OLD_SECONDS = 5
_MOST_DOUBT = 200  # milliseconds: of a slow answer, which is followed by another question


class ServerClock:
    """Unix milliseconds, as the server would say them; right to the time that its answer took.

    Between two measurements it goes with this machine's clock that nobody sets.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead: float | None = None  # of the server's clock before ours, in milliseconds
        self._measured = -math.inf  # seconds of ours

    def __call__(self) -> int:
        return int(time.monotonic() * 1000 + (self._ahead or 0))

    def is_old(self) -> bool:
        """Whether it is time for another measurement."""
        return time.monotonic() - self._measured > _OLD_SECONDS

    def note(self, instant: int, asked: float) -> None:
        """The server has said `instant` since `asked` (seconds of time.monotonic), and its answer is here now.

        When it said so is not known better than that: an answer that fits to what is known tells nothing new.
        """
        now = time.monotonic()
        least, most = instant - now * 1000, instant - asked * 1000 + 1
        with self._lock:
            known = (least + most) / 2 if self._ahead is None else self._ahead
            self._ahead = min(max(known, least), most)
            if most - least < _MOST_DOUBT:
                self._measured = now
