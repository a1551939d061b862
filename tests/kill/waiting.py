"""Waiting for a condition, with a deadline: the tests never sleep in place of knowing."""

import time
from collections.abc import Callable


def wait_until(is_true: Callable[[], bool], condition: str, *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.01)
