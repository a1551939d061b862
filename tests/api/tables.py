"""Rows of the tables: a call, and what of its answer is written down beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from tests.api.running import RunningServer
from tests.api.wire import Call, Reply


@dataclass(frozen=True, slots=True)
class Expected:
    """`headers` are compared exactly; a `body` of None may be anything. `{names}` in texts are filled in."""

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    without: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """`title` says in a few words what the call is about."""

    title: str
    call: Call
    expected: Expected


def parametrize(rows: Sequence[Row]) -> pytest.MarkDecorator:
    titles = [row.title for row in rows]
    assert len(set(titles)) == len(titles), "two rows have the same title"
    return pytest.mark.parametrize("row", rows, ids=titles)


def check(server: RunningServer, row: Row, names: Mapping[str, str]) -> Reply:
    """Make the row's call and compare."""
    call = row.call
    headers = [(name, fill(value, names)) for name, value in call.headers]
    reply = server.send(Call(call.method, fill(call.path, names), headers, call.body))
    expected = row.expected
    assert (reply.status, reply.code) == (expected.status, expected.code), reply
    for name, value in expected.headers.items():
        assert reply[name] == fill(value, names), name
    for name in expected.without:
        assert name not in reply
    if expected.body is not None:
        assert reply.body == fill(expected.body.decode(), names).encode()
    return reply


def fill(text: str, names: Mapping[str, str]) -> str:
    """Put the values of `names` in the place of `{name}`; other braces stay."""
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text
