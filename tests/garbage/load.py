"""Pushers and pullers beside a collector that waits for nothing, and server and collector are killed now and then.

Without leases a push may find that a blob has gone since it brought it; it brings it again then. What may never be:
an acknowledged manifest that is not whole, an answer with 5xx, and at the end a byte that nothing names.
"""

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.garbage.findings import Contents
from tests.garbage.server import AT_ONCE
from tests.garbage.shelf import Shelf, Title
from tests.garbage.yard import in_a_month
from tests.kill.client import Answer, Client, Unanswered, Unreachable
from tests.kill.content import Manifest, digest_of, make_content, make_image, make_index
from tests.kill.running import RunningServer

REPOSITORIES = ("load/a", "load/b", "load/c")
BLOBS = [make_content(f"blob {number}", 200 * 2**number) for number in range(10)]  # few, so that all want the same
BY_DIGEST = {digest_of(blob): blob for blob in BLOBS}
PUSHERS, PULLERS = 4, 2
MOST_TRIES = 50  # of one push: the collector may be faster many times
KEPT = 6  # titles of one pusher
LONGEST = 60  # seconds that a load may need beyond its time
OCTETS = {"Content-Type": "application/octet-stream"}


class Load:
    """The programs on the registry `folder`, and what their clients know."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.shelf = Shelf()
        self.is_over = threading.Event()
        self.server = self._start()
        assert self.server.wait_ready(), self.server.log_end()
        self.collector = self._collect()

    def run(
        self, seconds: float, seconds_between_kills: float | None = None, least: Mapping[str, int] | None = None
    ) -> list[str]:
        """Everything that went wrong, in words. It goes on until each deed of `least` is done more often than that."""
        clients = [Pusher(self, number).run for number in range(PUSHERS)] + [
            Puller(self, PUSHERS + number).run for number in range(PULLERS)
        ]
        threads = [threading.Thread(target=self._guard(client)) for client in clients]
        for thread in threads:
            thread.start()
        end, chance = time.monotonic() + seconds, random.Random(self.seed)  # noqa: S311 - a schedule, not a secret
        while not self.shelf.faults and (time.monotonic() < end or not self._has_done(least or {}, end)):
            life = seconds if seconds_between_kills is None else chance.uniform(0.1, 2 * seconds_between_kills)
            self.is_over.wait(min(life, max(0.2, end - time.monotonic())))
            if seconds_between_kills is not None:
                self._kill(chance.choice(["server", "collector"]))
        self.is_over.set()
        for thread in threads:
            thread.join()
        faults = list(self.shelf.faults)
        if self.collector.poll() is not None:
            faults.append(f"the collector has ended: {self._log('collector').read_text()[-3000:]}")
        with Client(self.server.port) as client:
            for title in self.shelf.titles():
                faults += find_missing(client, self.shelf, title)
        self.collector.kill()
        self.collector.wait()
        self.server.stop()
        return faults + asyncio.run(self.find_leftovers())

    def _has_done(self, least: Mapping[str, int], end: float) -> bool:
        """Or it is given up: a slow store needs longer, a stuck one is a fault."""
        return time.monotonic() > end + LONGEST or all(self.shelf.counts[deed] > count for deed, count in least.items())

    async def find_leftovers(self) -> list[str]:
        """When all time has passed: what is left that nothing names, and what is not left though something does."""
        async with in_a_month(self.folder, AT_ONCE) as yard:
            there = Contents.of(yard)
            lost = [
                f"{title.path} has lost {digest}"
                for title in self.shelf.titles()
                for digest in title.blobs
                if there.lacks_bytes(digest)
            ]
            return lost + yard.list_unnamed() + await yard.check()

    def _guard(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not self.is_over.is_set():
                    work()
            except BaseException as problem:  # noqa: BLE001 - told by the test's own thread
                self.shelf.blame(repr(problem))
                self.is_over.set()

        return run

    def _kill(self, which: str) -> None:
        self.shelf.count(f"{which} killed")
        if which == "server":
            self.server.kill()
            port = self.server.port
            self.server = self._start(ENTREPOT_PORT=str(port))
            self.server.port = port
            assert self.server.wait_ready(), self.server.log_end()
        else:
            self.collector.kill()
            self.collector.wait()
            self.collector = self._collect()

    def _log(self, which: str) -> Path:
        return self.folder.with_suffix(f".{which}.log")

    def _start(self, **settings: str) -> RunningServer:
        command = [sys.executable, "-m", "tests.garbage.server"]
        return RunningServer(command, self.folder, self._log("server"), **settings)

    def _collect(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.garbage.server", "--collect"]
        return RunningServer(command, self.folder, self._log("collector")).program


class Caller:
    """One client with its own connection and its own chance."""

    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.shelf = load.shelf
        self.number = number
        self.chance = random.Random(load.seed * 1000 + number)  # noqa: S311 - as above

    def run(self) -> None:
        """Do one thing after the other until the server is gone or the load is over."""
        try:
            with Client(self.load.server.port) as client:
                while not self.load.is_over.is_set():
                    self.act(client)
        except (Unanswered, Unreachable):
            self.shelf.count("cut off")
            self.load.is_over.wait(0.05)  # the server comes back when it does

    def act(self, client: Client) -> None:
        raise NotImplementedError

    def call(self, client: Client, method: str, path: str, content: bytes = b"", media_type: str = "") -> Answer:
        """Blames the server for a 5xx."""
        answer = client.call(method, path, content, {"Content-Type": media_type} if media_type else OCTETS)
        if answer.status >= 500:
            self.shelf.blame(f"{method} {path}: {answer.status} {answer.content[:300]!r}")
        return answer


class Puller(Caller):
    """Pulls what is acknowledged, whole."""

    def act(self, client: Client) -> None:
        titles = self.shelf.titles()
        if titles:
            for fault in find_missing(client, self.shelf, self.chance.choice(titles)):
                self.shelf.blame(fault)


class Pusher(Caller):
    """Pushes images and indexes of shared blobs, and deletes its own again."""

    def __init__(self, load: Load, number: int) -> None:
        super().__init__(load, number)
        self.serial = 0
        self.own: list[Title] = []
        self.deleted: list[Title] = []

    def act(self, client: Client) -> None:
        repository = self.chance.choice(REPOSITORIES)
        if len(self.own) > KEPT:
            self.delete(client, self.chance.choice(self.own))
        elif self.deleted and self.chance.random() < 0.2:
            self.push(client, self.deleted.pop(self.chance.randrange(len(self.deleted))))
        else:
            image = self.make_title(repository, make_image, self.chance.sample(BLOBS, 3))
            self.push(client, image)
            if self.chance.random() < 0.3:
                index = make_index([image.manifest])
                self.push(client, Title(repository, index, children=(image.manifest.digest,)))

    def make_title(self, repository: str, make: Callable[..., Manifest], blobs: list[bytes]) -> Title:
        self.serial += 1
        manifest = make(blobs[0], blobs[1:], note=f"{self.number} {self.serial} {self.load.seed}")
        return Title(repository, manifest, tuple(map(digest_of, blobs)))

    def push(self, client: Client, title: Title) -> None:
        for _ in range(MOST_TRIES):
            for digest in title.blobs:
                self.bring(client, title.repository, digest)
            reference = self.chance.choice([f"tag-{self.number}", title.manifest.digest])
            path = f"/v2/{title.repository}/manifests/{reference}"
            answer = self.call(client, "PUT", path, title.manifest.content, title.manifest.media_type)
            if answer.status == 201:
                self.own.append(title)
                self.shelf.put(title)
                self.shelf.count("pushed")
                return
            assert answer.status == 404, f"PUT {path}: {answer.status} {answer.content!r}"
            self.shelf.count("pushed again")
            if title.children:
                return  # its child is another title
        self.shelf.count("given up")

    def bring(self, client: Client, repository: str, digest: str) -> None:
        """As clients do: ask, mount, push in one request or in two."""
        how = self.chance.choice(["ask", "mount", "post", "put"])
        uploads = f"/v2/{repository}/blobs/uploads/"
        if how == "ask" and self.call(client, "HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
            return
        if how == "mount":
            source = self.chance.choice(REPOSITORIES)
            answer = self.call(client, "POST", f"{uploads}?mount={digest}&from={source}")
            if answer.status == 201:
                return
            self.finish(client, answer, digest)
        elif how == "put":
            self.finish(client, self.call(client, "POST", uploads), digest)
        else:
            answer = self.call(client, "POST", f"{uploads}?digest={digest}", BY_DIGEST[digest])
            assert answer.status == 201, answer

    def finish(self, client: Client, opened: Answer, digest: str) -> None:
        assert opened.status == 202, opened
        location = opened.headers["location"]
        mark = "&" if "?" in location else "?"
        answer = self.call(client, "PUT", f"{location}{mark}digest={digest}", BY_DIGEST[digest])
        assert answer.status == 201, answer

    def delete(self, client: Client, title: Title) -> None:
        """By digest; a child whose index is there stays."""
        holders = [one for one in self.own if title.manifest.digest in one.children]
        for one in [*holders, title]:
            self.shelf.take(one)
            self.own.remove(one)
            answer = self.call(client, "DELETE", one.path)
            if answer.status == 405:  # an index holds it whose push or delete was cut off: nobody knows of that one
                self.shelf.put(one)
                continue
            assert answer.status in {202, 404}, answer
            if not one.children:
                self.deleted = [*self.deleted, one][-KEPT:]
            self.shelf.count("deleted")


def find_missing(client: Client, shelf: Shelf, title: Title) -> list[str]:
    """What the title lacks although it has not been deleted meanwhile, in words."""
    faults = []
    for path in [title.path, *title.list_parts()]:
        answer = client.call("GET", path)
        if answer.status == 200 and digest_of(answer.content) == path.rpartition("/")[2]:
            shelf.count("pulled")
        elif shelf.holds(title):
            faults.append(f"{title.path}: {path} is {answer.status} {answer.content[:200]!r}")
    return faults
