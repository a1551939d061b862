"""What is measured of servers that all run at once and are asked in turns: small requests, pages of tags, pulls."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.images import MANIFEST_TYPE
from benchmarks.load import Call, WrongAnswer, find_wrk, repeat
from benchmarks.peers.contents import REPOSITORY, TAG, Contents, put_tags, tagged_repository
from benchmarks.peers.figures import GIB, REQUESTS, Measured, Row, Run, show_size, turn
from benchmarks.peers.programs import NotThere, Program
from benchmarks.peers.scale import Scale
from benchmarks.peers.servers import Peer, running
from benchmarks.peers.streams import Pull, Volley, do, verify

_MIB = 1 << 20
_PATIENCE = 16  # times as long as a run, for the first answer of a slow server
_ACCEPT = {"Accept": MANIFEST_TYPE}

Work = Callable[[Peer], tuple[float, float]]  # its amount and its seconds


@dataclass(frozen=True)
class Bench:
    """The programs that take part, a folder on a disk, and how much is done."""

    programs: Sequence[Program]
    folder: Path
    rounds: int
    scale: Scale

    @contextmanager
    def serving(self, contents: Contents, tags: Sequence[int] = ()) -> Iterator[Mapping[str, Peer]]:
        """All of them at once, with the contents; whatever they have stored is removed at the end."""
        with ExitStack() as running_peers:
            peers = {}
            for number, program in enumerate(self.programs):
                folder = self.folder / f"peer-{number}"
                running_peers.callback(shutil.rmtree, folder, ignore_errors=True)
                program.make(folder)
                put_tags(program, folder, tags)
                peers[program.name] = running_peers.enter_context(running(program, folder))
                contents.put(peers[program.name])
            yield peers


def measure(peers: Mapping[str, Peer], rounds: int, work: Work) -> dict[str, list[Run]]:
    """The runs of each, in rounds whose order changes."""
    found: dict[str, list[Run]] = {name: [] for name in peers}
    for number in range(rounds):
        for name in turn(list(peers), number):
            found[name].append(peers[name].measure(partial(work, peers[name])))
    return found


def measure_requests(bench: Bench) -> Iterator[Measured]:
    """Ping and manifests, on a few connections."""
    contents = Contents.make([])
    manifests = f"/v2/{REPOSITORY}/manifests"
    by_tag, by_digest = f"{manifests}/{TAG}", f"{manifests}/{contents.manifest_digest}"
    with bench.serving(contents) as peers:
        for peer in peers.values():
            call = Call(peer.port, by_digest, headers=_ACCEPT | peer.authorize(REPOSITORY))
            verify(call, contents.manifest_digest)
        for name, method, path in (
            ("ping", "GET", "/v2/"),
            ("manifest GET by tag", "GET", by_tag),
            ("manifest GET by digest", "GET", by_digest),
            ("manifest HEAD by tag", "HEAD", by_tag),
            ("manifest HEAD by digest", "HEAD", by_digest),
        ):
            work = partial(_ask, bench.scale, method, path, REPOSITORY)
            yield Row(name, REQUESTS, measure(peers, bench.rounds, work))


def measure_tags(bench: Bench) -> Iterator[Measured]:
    """The first page of 100 tags, of repositories that have more and more."""
    with bench.serving(Contents.make([]), bench.scale.tags) as peers:
        for count in bench.scale.tags:
            repository = tagged_repository(count)
            work = partial(_ask, bench.scale, "GET", f"/v2/{repository}/tags/list?n=100", repository)
            yield Row(name_tags(count), REQUESTS, measure(peers, bench.rounds, work))


def measure_pulls(bench: Bench) -> Iterator[Measured]:
    """GET of blobs; counted in requests below 1 MiB, in GiB from there on."""
    scale = bench.scale
    contents = Contents.make(scale.pulls)
    with bench.serving(contents) as peers:
        for size in scale.pulls:
            digest = contents.blobs[size].digest
            path = f"/v2/{REPOSITORY}/blobs/{digest}"
            for peer in peers.values():
                verify(Call(peer.port, path, headers=peer.authorize(REPOSITORY)), digest)
            for connections in scale.pull_connections:
                work: Work = partial(_pull, scale, path, size, connections)
                if size < _MIB:
                    work = partial(_ask, scale, "GET", path, REPOSITORY, connections=connections)
                runs = measure(peers, bench.rounds, work)
                unit = REQUESTS if size < _MIB else GIB
                yield Row(name_pull(size, connections), unit, runs)


def name_tags(count: int) -> str:
    return f"100 of {count:,} tags"


def name_pull(size: int, connections: int) -> str:
    return f"blob GET {show_size(size)} x{connections}"


def _ask(
    scale: Scale, method: str, path: str, repository: str, peer: Peer, *, connections: int = 0
) -> tuple[float, float]:
    """GET by wrk, HEAD by ourselves: wrk would wait for a body."""
    connections = connections or scale.connections
    headers = _ACCEPT | peer.authorize(repository)
    if method == "HEAD":
        return do(Volley(peer.port, path, headers, method, connections, scale.seconds))
    wrk = find_wrk()
    if wrk is None:
        raise NotThere("wrk is not there: .ci/install peers")
    call = Call(peer.port, path, method, headers)
    for seconds in (scale.seconds, scale.seconds * _PATIENCE):
        answered, took = repeat(call, seconds, wrk, connections)
        if answered:
            return answered, took
    raise WrongAnswer(f"{peer.name}: no answer to {path} within {seconds:g} s")


def _pull(scale: Scale, path: str, size: int, connections: int, peer: Peer) -> tuple[float, float]:
    headers = peer.authorize(REPOSITORY)
    received, took = do(Pull(peer.port, path, headers, size, connections, scale.seconds))
    return received / (1 << 30), took
