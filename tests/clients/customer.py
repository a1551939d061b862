"""One client's part of a load: in a repository of its own it pushes, moves tags and deletes; it pulls what all pushed.

Only the kill of a replica while the client runs excuses its failure; then it tries again until it is answered.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from .carriers import Carrier, Stored, WrongBytes, says_absent
from .images import Image, layer
from .record import Record
from .suites import ClientFailed

T = TypeVar("T")

MOST_KEPT = 10  # images of one customer
SIZES = (500, 30_000, 300_000, 1_500_000)  # of files: some blobs are answered by a replica, some by the S3 server
MOVING = ("latest", "stable")
# How clients say that they were sent other bytes than they asked for: no kill excuses that.
WRONG = ("verification failed", "error verifying sha256", "did not match", "does not match")


@dataclass
class Customer:
    """`bases` are the layers that it shares with others."""

    name: str
    carrier: Carrier
    record: Record
    chance: random.Random
    bases: tuple[bytes, ...]
    own: dict[str, Stored] = field(default_factory=dict)  # by digest
    tags: dict[str, str] = field(default_factory=dict)  # and what each is now
    serial: int = 0

    @property
    def repository(self) -> str:
        return f"load/{self.name}"

    def act(self) -> None:
        """Do one thing; at first each of them once, so that the shortest load has all of them."""
        if not self.serial:
            self.push("latest")
            self.pull_tag("latest")
            self.tag(self.choose())
            self.pull(self.choose())
            self.delete(self.choose())
        dice = self.chance.random()
        if len(self.own) > MOST_KEPT or (dice < 0.15 and self.own):
            self.delete(self.choose())
        elif dice < 0.25 and self.own:
            self.tag(self.choose())
        elif dice < 0.35 and self.tags:
            self.pull_tag(self.chance.choice(sorted(self.tags)))
        elif dice < 0.55 and self.record.stored():
            self.pull(self.chance.choice(self.record.stored()))
        else:
            self.push(self.chance.choice([f"v{self.serial}", *MOVING]))

    def choose(self) -> Stored:
        return self.own[self.chance.choice(sorted(self.own))]

    def make_image(self, architecture: str) -> Image:
        self.serial += 1
        new = layer({f"{self.name}/{self.serial}": self.chance.randbytes(self.chance.choice(SIZES))})
        return Image((*self.chance.sample(self.bases, self.chance.randint(0, 2)), new), architecture)

    def push(self, tag: str, most_images: int = 0) -> None:
        count = self.chance.choice([1, 1, 1, most_images or self.carrier.most_images])
        images = tuple(self.make_image(architecture) for architecture in ("amd64", "arm64")[:count])
        stored = self.attempt("pushes", lambda: self.carrier.push(images, self.repository, tag))
        self.keep(stored, tag)

    def keep(self, stored: Stored, tag: str) -> None:
        self.own[stored.digest] = stored
        self.tags[tag] = stored.digest
        self.record.put(stored, tag)

    def tag(self, stored: Stored) -> None:
        tag = self.chance.choice(MOVING)
        self.attempt("tags", lambda: self.carrier.tag(stored, tag))
        self.tags[tag] = stored.digest
        self.record.tag(stored, tag)

    def pull_tag(self, tag: str) -> None:
        self.attempt("pulls by tag", lambda: self.carrier.pull(self.own[self.tags[tag]], tag))

    def pull(self, stored: Stored) -> None:
        """Anybody's, who may delete it meanwhile."""
        try:
            self.attempt("pulls", lambda: self.carrier.pull(stored))
        except ClientFailed:
            if self.record.holds(stored):
                raise

    def delete(self, stored: Stored) -> None:
        """With all manifests that it consists of; at once none is found any more."""
        self.record.take(stored)
        del self.own[stored.digest]
        tags = [tag for tag, digest in self.tags.items() if digest == stored.digest]
        for tag in tags:
            del self.tags[tag]
        for digest in stored.manifests:
            self.attempt(
                "deletes", partial(self.carrier.delete, stored, digest), partial(self.delete_rest, stored, digest)
            )
        self.record.lose(stored, tags)
        is_there = self.attempt("looks at what is gone", lambda: self.carrier.has(stored))
        assert not is_there, f"{stored.repository}@{stored.digest} is deleted, and there"

    def delete_rest(self, stored: Stored, digest: str) -> None:
        """Again, when the answer to the first try was lost: it may have been the answer that all is done."""
        try:
            self.carrier.delete(stored, digest)
        except ClientFailed as failure:
            if not says_absent(failure):
                raise

    def attempt(self, what: str, work: Callable[[], T], again: Callable[[], T] | None = None) -> T:
        """Do it until it is acknowledged; `again` is what is done after a try without an answer."""
        while True:
            began = time.monotonic()
            try:
                done = work()
            except ClientFailed as failure:
                if any(word in str(failure) for word in WRONG):
                    raise WrongBytes(str(failure)) from failure
                if not self.record.was_killed_since(began):
                    raise
                self.record.count(f"{what} cut off")
                work = again or work
            else:
                self.record.count(what)
                return done


@dataclass
class Ager(Customer):
    """Pushes image after image into a repository whose policy keeps `most` of them, and pulls those alone."""

    most: int = 5
    aged: list[tuple[Stored, str]] = field(default_factory=list)

    @property
    def repository(self) -> str:
        return "aging/app"

    def act(self) -> None:
        if self.aged and self.chance.random() < 0.3:
            stored, tag = self.chance.choice(self.aged[-self.most :])
            self.attempt("pulls of what a policy keeps", lambda: self.carrier.pull(stored, tag))
        else:
            self.push(f"t{len(self.aged)}", most_images=1)  # an index and its parts would be counted one by one

    def keep(self, stored: Stored, tag: str) -> None:
        self.aged.append((stored, tag))

    def settle(self) -> None:
        """When the policy has run for the last time: what it keeps is there, and nothing else."""
        for stored, tag in self.aged:
            self.record.put(stored, tag)
        for stored, tag in self.aged[: -self.most]:
            self.record.take(stored)
            self.record.lose(stored, [tag])
