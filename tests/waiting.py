"""Waiting for a condition, with a deadline: the tests never sleep in place of knowing."""

import time
from collections.abc import Callable


def wait_until(is_true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)  # the interval of the poll; nothing relies on its length
