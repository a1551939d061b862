"""Every order in which a push, a delete, a restore and the collector can meet: not some, all of them.

The sides are the product's own code; each order runs on content of its own, in one registry.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from registry.errors import RegistryError
from tests.garbage.turns import Orders, Side, Turns
from tests.garbage.yard import HOUR, SETTLE, WINDOWS, HandClock, Yard
from tests.scenarios.images import Content, make_blob, make_image, make_index

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]  # seconds: hundreds of orders, each a registry's whole work

Work: TypeAlias = Coroutine[Any, Any, object]
LEAST_ORDERS, MOST_ORDERS = 2, 4_000


@dataclass(frozen=True, slots=True)
class Plot:
    """Content of its own for one run, in the repositories `name` and `other`. What was acknowledged is remembered."""

    yard: Yard
    number: int
    acknowledged: set[tuple[str, Content]]

    @property
    def name(self) -> str:
        return f"a{self.number}"

    @property
    def other(self) -> str:
        return f"b{self.number}"

    @property
    def layer(self) -> Content:
        return make_blob(f"layer {self.number}")

    @property
    def image(self) -> Content:
        return make_image(self.layer)

    @property
    def index(self) -> Content:
        return make_index([self.image])

    async def push(self, name: str) -> None:
        """A blob, and the manifest that names it."""
        await self.yard.push_blob(name, self.layer)
        await self.put(name, self.image)

    async def put(self, name: str, manifest: Content) -> None:
        await self.yard.push_manifest(name, manifest, "latest")
        self.acknowledged.add((name, manifest))

    async def push_what_is_missing(self, name: str) -> None:
        """As clients do: ask first, and push what is not there."""
        try:
            await self.yard.head(name, self.layer)
        except RegistryError:
            await self.yard.push_blob(name, self.layer)
        await self.put(name, self.image)

    async def mount(self) -> None:
        if not await self.yard.mount(self.other, self.layer, self.name):
            await self.yard.push_blob(self.other, self.layer)
        await self.put(self.other, self.image)

    async def push_index(self) -> None:
        with suppress(RegistryError):  # its child goes
            await self.put(self.name, self.index)

    async def delete(self) -> None:
        with suppress(RegistryError):  # its index came
            await self.yard.delete_manifest(self.name, self.image.digest)
            self.acknowledged.discard((self.name, self.image))

    async def restore(self) -> None:
        with suppress(RegistryError):  # it is gone for good
            await self.yard.restore_manifest(self.name, self.image)
            self.acknowledged.add((self.name, self.image))

    async def collect(self) -> None:
        """Whatever is due when its turn comes: a step has what races there are, the next one only more of them."""
        await self.yard.registry.store.size("nothing")  # a turn of its own
        await self.yard.registry.garbage.step()

    async def condemn(self) -> None:
        """Nothing names the blob, and it goes when the collector looks."""
        await self.yard.push_blob(self.name, self.layer)
        await self.yard.pass_time(25 * HOUR)
        await self.yard.collect()
        await self.yard.pass_time(SETTLE)

    async def mark(self) -> None:
        """The image is deleted, and goes when the collector looks."""
        await self.push(self.name)
        await self.yard.pass_time(25 * HOUR)
        await self.yard.delete_manifest(self.name, self.image.digest)
        self.acknowledged.clear()

    async def have(self) -> None:
        await self.push(self.name)
        await self.yard.pass_time(25 * HOUR)
        await self.yard.collect()


@dataclass(frozen=True, slots=True)
class Meeting:
    """What is there before, and the sides. A side goes to its first operation of the kind that it begins with."""

    before: Callable[["Plot"], Work]
    sides: dict[Callable[["Plot"], Work], str]


MEETINGS = {
    "a push of a blob that goes": Meeting(Plot.condemn, {lambda plot: plot.push(plot.name): "size"}),
    "a push of a blob that goes elsewhere": Meeting(Plot.condemn, {lambda plot: plot.push(plot.other): "size"}),
    "a push that asks first": Meeting(Plot.condemn, {lambda plot: plot.push_what_is_missing(plot.name): "open"}),
    "a mount of a blob that goes": Meeting(Plot.condemn, {Plot.mount: "size"}),
    "a push of an image that goes": Meeting(Plot.mark, {lambda plot: plot.push_what_is_missing(plot.name): "open"}),
    "a restore of an image that goes": Meeting(Plot.mark, {Plot.restore: "write"}),
    "a restore, and a push elsewhere": Meeting(Plot.mark, {Plot.restore: "write", Plot.mount: "size"}),
    "a delete, and a push of an index": Meeting(Plot.have, {Plot.delete: "write", Plot.push_index: "write"}),
    "a delete, and a push": Meeting(
        Plot.have, {Plot.delete: "write", lambda plot: plot.push_what_is_missing(plot.name): "open"}
    ),
}


@pytest.fixture
async def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: Turns) -> AsyncIterator[Yard]:
    opened = await Yard(tmp_path, HandClock(), replace(WINDOWS, undelete_days=0), turns.reach).open()
    turns.rule(opened.registry, monkeypatch, without_reads=True)
    yield opened
    await opened.close()


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.mark.parametrize("meeting", MEETINGS.values(), ids=MEETINGS)
async def test_every_order_keeps_what_was_acknowledged(yard: Yard, turns: Turns, meeting: Meeting) -> None:
    """In whatever order the collector and the others take their turns, what was acknowledged can be pulled, whole."""
    orders = Orders()
    for number in itertools.count():
        plot = Plot(yard, number, set())
        await meeting.before(plot)
        sides: list[Side[object]] = [await turns.begin(plot.collect())]
        for work, first in meeting.sides.items():
            sides.append(await turns.begin(work(plot)))
            await sides[-1].go_before(first)
        await orders.run(sides)
        for side in sides:
            await side.task
        await yard.quiesce()
        for name, manifest in plot.acknowledged:
            await expect_whole(yard, name, manifest, plot)
        if not orders.is_left:
            break
        assert number < MOST_ORDERS
    assert number >= LEAST_ORDERS
    assert yard.list_unnamed() == []
    assert await yard.check() == []


async def expect_whole(yard: Yard, name: str, manifest: Content, plot: Plot) -> None:
    assert await yard.pull(name, manifest) == manifest.content
    if manifest == plot.index:
        assert await yard.pull(name, plot.image) == plot.image.content
    assert await yard.read_blob(name, plot.layer) == plot.layer.content
