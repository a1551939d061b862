"""What the clients of a fault test do: several pushers at once, each in its own repositories, on shared content."""

import threading
from collections.abc import Callable
from functools import partial

from tests.kill.client import Client, Unanswered, Unreachable
from tests.kill.content import make_content, make_image, make_index
from tests.kill.history import History
from tests.kill.pusher import Pusher

PUSHERS = 3
ROUNDS = 2


def run(port: int, history: History, connect: Callable[[int], Client] = Client) -> None:
    """Push until all is done or the server is gone. Raises Refused when the server refuses anything."""
    threads = [_Thread(partial(_push_all, connect(port), history, seed)) for seed in range(PUSHERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in threads:
        if thread.error:
            raise thread.error


class _Thread(threading.Thread):
    """A thread that keeps its exception."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except (Unanswered, Unreachable):
            pass  # the server was killed, as planned: the test asserts that it was
        except BaseException as error:  # noqa: BLE001  # raised again in the test's own thread
            self.error = error


def _push_all(client: Client, history: History, seed: int) -> None:
    with client:
        for number in range(ROUNDS):
            _push(client, history, seed, number)


def _push(client: Client, history: History, seed: int, number: int) -> None:
    pusher = Pusher(client, history, f"load/{seed}")
    other = Pusher(client, history, f"load/{seed}/mounted")
    config, shared, one, two, three = (
        make_content(text, size)
        for text, size in (
            (f"config {seed} {number}", 1_000),
            (f"shared {number}", 70_000),  # every pusher brings it into its own repository
            (f"one {seed} {number}", 200_000),
            (f"two {seed} {number}", 300_000),
            (f"three {seed} {number}", 1_500_000),
        )
    )
    pusher.push_with_post(config)
    pusher.push_with_put(shared)
    pusher.push_in_chunks(one, 3)
    pusher.push_streamed(three)
    pusher.push_with_put(two, "sha512")
    pusher.push_with_put(two)
    pusher.push_with_put(b"")
    first = make_image(config, [shared, one], note=f"{seed} {number}")
    second = make_image(config, [two, three], note=f"{seed} {number}")
    pusher.put(first, "latest")
    pusher.put(second)
    pusher.put(make_index([first, second]), f"index-{number}")
    pusher.put(second, "latest")
    pusher.put(first, f"a-{number}", f"b-{number}", f"c-{number}")
    pusher.put(make_image(config, [], subject=first, note=f"referrer {number}"))
    other.mount(config, pusher.repository)
    other.mount(shared, pusher.repository)
    other.put(make_image(config, [shared], note="mounted"), "latest")
    _delete(pusher, config, number)
    pusher.push_in_chunks(make_content(f"left {seed} {number}", 90_000), 2, close=False)


def _delete(pusher: Pusher, config: bytes, number: int) -> None:
    passing = make_content(f"passing {pusher.repository} {number}", 5_000)
    doomed = make_image(config, [], note=f"doomed {number}")
    pusher.cancel(passing)
    pusher.push_with_put(passing)
    pusher.delete_blob(passing)
    pusher.put(doomed, f"doomed-{number}", f"doomed-too-{number}")
    pusher.untag(f"b-{number}")
    pusher.delete_manifest(doomed, f"doomed-{number}", f"doomed-too-{number}")
