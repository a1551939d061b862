"""How much is done: all that is promised about, or little enough to see that everything runs."""

from dataclasses import dataclass

_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Pushed:
    """So many blobs of a size on each connection; the most rounds of it."""

    size: int
    connections: int
    count: int
    chunked: bool = False
    most_rounds: int = 100


@dataclass(frozen=True)
class Scale:
    connections: int  # for small requests
    seconds: float  # of a run that is bounded by time
    tags: tuple[int, ...]
    pulls: tuple[int, ...]
    pull_connections: tuple[int, ...]
    pushes: tuple[Pushed, ...]
    pulled_at_once: Pushed  # for the memory
    pushed_at_once: Pushed
    layers: tuple[int, ...]  # MiB, of the image of real clients
    charted: tuple[str, ...]  # names of rows


FULL = Scale(
    connections=8,
    seconds=2,
    tags=(100, 1_000, 100_000),
    pulls=(_KIB, 64 * _KIB, _MIB, 100 * _MIB, _GIB),
    pull_connections=(1, 32),
    pushes=(
        Pushed(_MIB, 1, 200),
        Pushed(_MIB, 8, 50),
        Pushed(100 * _MIB, 1, 8),
        Pushed(100 * _MIB, 8, 2),
        Pushed(100 * _MIB, 1, 8, chunked=True),
        Pushed(_GIB, 1, 1),
        Pushed(_GIB, 8, 1, most_rounds=3),
    ),
    pulled_at_once=Pushed(100 * _MIB, 64, 1, most_rounds=3),
    pushed_at_once=Pushed(_GIB, 8, 1, most_rounds=3),
    layers=(96, 56, 32, 12, 4),
    charted=(
        "manifest GET by tag",
        "blob GET 1 MiB x32",
        "blob GET 100 MiB x32",
        "push 1 MiB x8",
        "push 100 MiB x1",
        "push 1 GiB x1",
    ),
)

QUICK = Scale(
    connections=2,
    seconds=0.3,
    tags=(100, 1_000),
    pulls=(_KIB, _MIB, 4 * _MIB),
    pull_connections=(1, 4),
    pushes=(Pushed(_MIB, 1, 2), Pushed(4 * _MIB, 2, 1), Pushed(4 * _MIB, 1, 1, chunked=True)),
    pulled_at_once=Pushed(4 * _MIB, 4, 1),
    pushed_at_once=Pushed(4 * _MIB, 2, 1),
    layers=(2, 1),
    charted=("manifest GET by tag", "blob GET 1 MiB x4", "push 1 MiB x1"),
)
