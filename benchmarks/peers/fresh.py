"""What is measured of servers that are started for one run: pushes, memory, the start itself."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.blob_client import Content
from benchmarks.peers.contents import REPOSITORY, Contents
from benchmarks.peers.figures import GIB, MIB, SECONDS, Gauge, Measured, Row, Run, show_size, turn
from benchmarks.peers.meters import memory, watching
from benchmarks.peers.parts import Bench
from benchmarks.peers.programs import Program
from benchmarks.peers.scale import Pushed
from benchmarks.peers.servers import Peer, running
from benchmarks.peers.streams import Pull, Push, do

SHA256 = "SHA-256, one core"  # takes part in pushes: nobody can store what it has not hashed
STARTED = "first answer after the start"
_STARTS = 3  # in one round
_GIB = 1 << 30
_WARMING = Pushed(1 << 20, 1, 2)


@dataclass(frozen=True)
class Load:
    """What a server is given beforehand, and what it then does all at once."""

    name: str
    fill: Callable[[Peer], object]
    run: Callable[[Peer], object]
    rounds: int
    for_registries: bool = False


def measure_pushes(bench: Bench) -> Iterator[Measured]:
    """Pushes of new content to empty registries, which sync it."""
    registries = {program.name: program for program in bench.programs if program.is_registry}
    for pushed in bench.scale.pushes:
        runs: dict[str, list[Run]] = {name: [] for name in (*registries, SHA256)}
        for number in range(min(bench.rounds, pushed.most_rounds)):
            for name in turn(list(registries), number):
                with serving_alone(bench, registries[name]) as peer:
                    _push(_WARMING, peer)
                    runs[name].append(peer.measure(partial(_push, pushed, peer)))
            runs[SHA256].append(_hash(pushed.size))
        yield Row(name_push(pushed), GIB, runs)


def name_push(pushed: Pushed) -> str:
    return f"push {show_size(pushed.size)} x{pushed.connections}{', chunked' if pushed.chunked else ''}"


def name_loads(pulled: Pushed, pushed: Pushed) -> tuple[str, str]:
    """Of the pulls and the pushes whose memory is measured."""
    return (
        f"{pulled.connections} pulls of {show_size(pulled.size)} at once",
        f"{pushed.connections} pushes of {show_size(pushed.size)} at once",
    )


def measure_memory(bench: Bench) -> Iterator[Measured]:
    """At rest after a first answer, and the most above that under load; as PSS."""
    pulled, pushed = bench.scale.pulled_at_once, bench.scale.pushed_at_once
    contents = Contents.make([pulled.size])
    pulls, pushes = name_loads(pulled, pushed)
    loads = (
        Load(pulls, contents.put, partial(_pull, bench, contents), pulled.most_rounds),
        Load(pushes, partial(_push, _WARMING), partial(_push, pushed), pushed.most_rounds, for_registries=True),
    )
    for load in loads:
        programs = [program for program in bench.programs if program.is_registry or not load.for_registries]
        rest: dict[str, list[float]] = {program.name: [] for program in programs}
        above: dict[str, list[float]] = {program.name: [] for program in programs}
        for _ in range(min(bench.rounds, load.rounds)):
            for program in programs:
                at_rest, peak = _measure_load(bench, program, load)
                rest[program.name].append(at_rest)
                above[program.name].append(max(0.0, peak - at_rest))
        yield Gauge(f"at rest before {load.name}", MIB, rest)
        yield Gauge(name_above(load.name), MIB, above)


def name_above(load: str) -> str:
    return f"above rest in {load}"


def measure_starts(bench: Bench) -> Iterator[Measured]:
    """From the start of a program to its first answer; its files are in the page cache."""
    contents = Contents.make([])
    seconds: dict[str, list[float]] = {program.name: [] for program in bench.programs}
    for _ in range(bench.rounds):
        for program in bench.programs:
            with folder_for(bench, program) as folder:
                with running(program, folder) as peer:
                    contents.put(peer)
                for _ in range(_STARTS):
                    with running(program, folder) as peer:
                        seconds[program.name].append(peer.started)
    yield Gauge(STARTED, SECONDS, seconds)


@contextmanager
def folder_for(bench: Bench, program: Program) -> Iterator[Path]:
    """A set-up folder, which is removed at the end."""
    folder = bench.folder / "alone"
    try:
        program.make(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving_alone(bench: Bench, program: Program) -> Iterator[Peer]:
    """A server without content, when whatever was written before is on the disk."""
    with folder_for(bench, program) as folder:
        os.sync()
        with running(program, folder) as peer:
            yield peer


def _measure_load(bench: Bench, program: Program, load: Load) -> tuple[float, float]:
    """MiB at rest, and at most. The server has started anew after it was filled."""
    with folder_for(bench, program) as folder:
        with running(program, folder) as peer:
            load.fill(peer)
        os.sync()
        with running(program, folder) as peer:
            peer.authorize(REPOSITORY)
            at_rest = memory(peer.pid)
            with watching(peer.pid) as peak:
                load.run(peer)
        return at_rest, peak.mib


def _push(pushed: Pushed, peer: Peer) -> tuple[float, float]:
    headers = peer.authorize(REPOSITORY)
    job = Push(peer.port, REPOSITORY, headers, pushed.size, pushed.count, pushed.connections, pushed.chunked)
    pushed_bytes, took = do(job)
    return pushed_bytes / _GIB, took


def _pull(bench: Bench, contents: Contents, peer: Peer) -> tuple[float, float]:
    """For so long that each connection gets its blob, and more."""
    pulled = bench.scale.pulled_at_once
    blob = contents.blobs[pulled.size]
    path = f"/v2/{REPOSITORY}/blobs/{blob.digest}"
    headers = peer.authorize(REPOSITORY)
    return do(Pull(peer.port, path, headers, blob.size, pulled.connections, bench.scale.seconds * 5))


def _hash(size: int) -> Run:
    """One content's, by one thread."""
    content = next(iter(Content.make(min(size, 1 << 20)).pieces()))
    began, used = time.monotonic(), time.thread_time()
    found = hashlib.sha256()
    for _ in range(size // len(content)):
        found.update(content)
    return Run(size / _GIB, time.monotonic() - began, time.thread_time() - used)
