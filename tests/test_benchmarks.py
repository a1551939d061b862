"""What benchmarks make of their figures: ratios, tables, goals and the chart; and the loads that they send."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from xml.etree import ElementTree as ET

import pytest

from benchmarks.load import WrongAnswer
from benchmarks.peers.chart import draw
from benchmarks.peers.figures import GIB, MIB, REQUESTS, SECONDS, Gauge, Measured, Ratio, Row, Run, show_size, turn
from benchmarks.peers.fresh import name_push
from benchmarks.peers.goals import ONE, TWO, find_goals
from benchmarks.peers.parts import name_pull, name_tags
from benchmarks.peers.report import Goal, show, show_goals
from benchmarks.peers.scale import FULL, QUICK, Scale
from benchmarks.peers.streams import Pull, Volley

NGINX, DISTRIBUTION = "nginx", "distribution 3.1.2"


def row(name: str, unit: str = REQUESTS, **amounts: list[float]) -> Row:
    """Each run took a second, and half of it of processor time."""
    servers = {"own": ONE, "two": TWO, "nginx": NGINX, "distribution": DISTRIBUTION}
    runs = {servers[key]: [Run(amount, 1, 0.5) for amount in given] for key, given in amounts.items()}
    return Row(name, unit, runs)


def test_ratios_are_those_of_rounds() -> None:
    """A ratio is the median of the ratios in the single rounds, not that of the medians."""
    measured = row("ping", own=[100, 30, 90], nginx=[200, 10, 100])
    assert measured.rate(ONE) == 90
    assert measured.ratio(ONE, NGINX) == Ratio(0.9, 0.5, 3)
    assert measured.ratio(ONE, DISTRIBUTION) is None


def test_less_is_better_for_gauges() -> None:
    """Half of the seconds are a ratio of 2; where nothing was taken there is no ratio."""
    gauge = Gauge("start", SECONDS, {ONE: [1.0, 2.0, 4.0], NGINX: [2.0, 4.0, 8.0], DISTRIBUTION: [0.0, 1.0, 1.0]})
    assert gauge.value(ONE) == 2
    assert gauge.ratio(ONE, NGINX) == Ratio(2, 2, 2)
    assert gauge.ratio(DISTRIBUTION, NGINX) is None


def test_everybody_is_first_in_turn() -> None:
    """The order of a round begins with the next server."""
    assert [turn(["a", "b", "c"], number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


@pytest.mark.parametrize(
    ("size", "shown"),
    [(1, "1 B"), (1 << 10, "1 KiB"), (64 << 10, "64 KiB"), (100 << 20, "100 MiB"), (1 << 30, "1 GiB")],
)
def test_sizes(size: int, shown: str) -> None:
    """A size is told in its largest unit."""
    assert show_size(size) == shown


def test_tables() -> None:
    """Rates with their costs, then our ratios; a server that took no part has an empty cell."""
    measured: list[Measured] = [
        row("ping", own=[20_000], nginx=[40_000], distribution=[500]),
        row("push", GIB, own=[1.5], distribution=[0.5]),
        Gauge("rest", MIB, {ONE: [60.0], NGINX: [3.0]}),
        Gauge("start", SECONDS, {ONE: [0.5], NGINX: [1.25]}),
    ]
    assert list(show(measured, [ONE])) == [
        "|  | entrepot | nginx | distribution 3.1.2 |",
        "| --- | ---: | ---: | ---: |",
        "| ping | 20.0k/s (25 µs) | 40.0k/s (12 µs) | 500/s (1000 µs) |",
        "| push | 1.50 GiB/s (0.33 s/GiB) |  | 0.50 GiB/s (1.00 s/GiB) |",
        "| rest | 60 MiB | 3 MiB |  |",
        "| start | 500 ms | 1.25 s |  |",
        "",
        "| entrepot, ratio to | nginx | distribution 3.1.2 |",
        "| --- | ---: | ---: |",
        "| ping | 0.50 (0.50-0.50) | 40.00 (40.00-40.00) |",
        "| push |  | 3.00 (3.00-3.00) |",
        "| rest | 0.05 (0.05-0.05) |  |",
        "| start | 2.50 (2.50-2.50) |  |",
        "",
    ]


def test_goals() -> None:
    """Each goal is found in the row that it is about, and only in those that were measured."""
    measured: list[Measured] = [
        row("manifest GET by tag", own=[90], nginx=[100], distribution=[10]),
        row(name_pull(1 << 20, 1), GIB, own=[0.8], two=[1], nginx=[1], distribution=[0.5]),
        row(name_pull(1 << 20, 32), GIB, own=[0.8], two=[1], nginx=[1]),
        row(name_tags(1_000), own=[100]),
        row(name_tags(100_000), own=[50]),
        Gauge("above rest in 64 pulls of 100 MiB at once", MIB, {ONE: [61.0]}),
    ]
    assert find_goals(measured, FULL) == [
        Goal("manifest GET by tag: entrepot to nginx", 0.9, least=0.85),
        Goal("manifest GET by tag: entrepot to distribution 3.1.2", 9, least=8),
        Goal("100 of 100,000 tags to 100 of 1,000 tags", 0.5, least=0.95),
        Goal("blob GET 1 MiB x1: entrepot to nginx", 0.8, least=0.85),
        Goal("blob GET 1 MiB x1: entrepot to distribution 3.1.2", 1.6, least=1.3),
        Goal("blob GET 1 MiB x32: entrepot, 2 workers to nginx", 1, least=0.95),
        Goal("above rest in 64 pulls of 100 MiB at once: entrepot, MiB", 61, most=60),
    ]
    reached = [goal.is_reached for goal in find_goals(measured, FULL)]
    assert reached == [True, True, False, False, True, True, False]
    assert list(show_goals([Goal("a", 0.5, least=0.95), Goal("b", 1, most=60)]))[2:] == [
        "| a | 0.50 | at least 0.95 | **no** |",
        "| b | 1.00 | at most 60 | yes |",
    ]


def test_chart() -> None:
    """The chart is XML, with one bar for each server as long as its rate beside the fastest's, and its ratio."""
    drawn = ET.fromstring(draw([row("a & b", own=[80], nginx=[100], distribution=[20])], [ONE], DISTRIBUTION))  # noqa: S314 - ours
    name = "{http://www.w3.org/2000/svg}"
    _, *bars = drawn.findall(f"{name}rect")
    longest = int(bars[1].attrib["width"])
    assert [int(bar.attrib["width"]) for bar in bars] == [round(longest * 0.8), longest, round(longest * 0.2)]
    assert [text.text for text in drawn.findall(f"{name}text")] == [
        "a & b",
        *(ONE, "80/s  (4.0x)"),
        *(NGINX, "100/s  (5.0x)"),
        *(DISTRIBUTION, "20/s"),
    ]


@pytest.mark.parametrize("scale", [FULL, QUICK])
def test_charted_rows_are_measured(scale: Scale) -> None:
    """The chart waits for no row that nobody measures."""
    pulls = {name_pull(size, connections) for size in scale.pulls for connections in scale.pull_connections}
    assert set(scale.charted) <= pulls | {name_push(pushed) for pushed in scale.pushes} | {"manifest GET by tag"}


@contextmanager
def answering(*pieces: bytes) -> Iterator[int]:
    """A server on the port that sends these pieces, one after the other, to each request on one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):
                while connection.recv(1 << 16):
                    for piece in pieces:
                        connection.sendall(piece)

        server = threading.Thread(target=answer)
        server.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.join()


def test_pulls_count_bodies() -> None:
    """A pull counts the bytes of whole bodies, however the answer is cut."""
    with answering(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 6\r\n\r\nab", b"cdef") as port:
        received, seconds = Pull(port, "/blob", {}, 6, 1, 0).run()
    assert received == 6
    assert seconds > 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdefg",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\n\r\nabcdef",
    ],
)
def test_pulls_look_at_answers(answer: bytes) -> None:
    """A pull refuses another status or another length than it expects."""
    with answering(answer) as port, pytest.raises(WrongAnswer):
        Pull(port, "/blob", {}, 6, 1, 0).run()


def test_volleys_count_answers() -> None:
    """A volley sends one request at a time on each connection, and wants each of them to be answered 200."""
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n") as port:
        answered, seconds = Volley(port, "/manifest", {}, "HEAD", 1, 0.01).run()
    assert answered > 0
    assert seconds > 0
    with answering(b"HTTP/1.1 401 Unauthorized\r\n\r\n") as port, pytest.raises(WrongAnswer, match="401"):
        Volley(port, "/manifest", {}, "HEAD", 1, 0.01).run()
