"""A load generator: the same request again and again on a few connections that are kept alive."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

CONNECTIONS = 8
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END_OF_HEADERS = b"\r\n\r\n"


class WrongAnswer(Exception):
    """The message holds the beginning of the answer."""


@dataclass(frozen=True)
class Call:
    """A request without a body to a port of this machine, and the status that it must be answered with."""

    port: int
    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    def encode(self) -> bytes:
        fields = {"Host": f"127.0.0.1:{self.port}", **self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode()


def find_wrk() -> str | None:
    return shutil.which("wrk")


def repeat(call: Call, seconds: float, wrk: str | None = None, connections: int = CONNECTIONS) -> tuple[int, float]:
    """How many requests were answered in how many seconds. Raises WrongAnswer.

    With wrk where it is given, except for HEAD: wrk would wait for the body.
    """
    if wrk and call.method == "GET":
        return _run_wrk(wrk, call, seconds, connections)
    return asyncio.run(_repeat(call, seconds, connections))


def _run_wrk(wrk: str, call: Call, seconds: float, connections: int) -> tuple[int, float]:
    headers = [word for name, value in call.headers.items() for word in ("-H", f"{name}: {value}")]
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout=60s"]
    command = [wrk, *options, *headers, f"http://127.0.0.1:{call.port}{call.path}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in ([0-9.]+)s,", printed)
    if found is None or "Non-2xx" in printed or "Socket errors" in printed:
        raise WrongAnswer(printed)
    return int(found[1]), float(found[2])


async def _repeat(call: Call, seconds: float, connections: int) -> tuple[int, float]:
    loop = asyncio.get_running_loop()
    repeaters = [_Repeater(call) for _ in range(connections)]
    began = loop.time()
    for repeater in repeaters:
        await loop.create_connection(partial(_itself, repeater), "127.0.0.1", call.port)
    await asyncio.sleep(seconds)
    took = loop.time() - began
    for repeater in repeaters:
        repeater.stop()
        if repeater.wrong:
            raise WrongAnswer(repeater.wrong)
    return sum(repeater.answered for repeater in repeaters), took


def _itself(repeater: "_Repeater") -> "_Repeater":
    return repeater


class _Repeater(asyncio.Protocol):
    """Sends the request again as soon as the answer has come."""

    def __init__(self, call: Call) -> None:
        self._request = call.encode()
        self._begin = f"HTTP/1.1 {call.status} ".encode()
        self._has_body = call.method != "HEAD"
        self._received = b""
        self._transport: asyncio.Transport
        self.answered = 0
        self.wrong = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def stop(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END_OF_HEADERS)
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end + 2)
        if not self._received.startswith(self._begin) or length is None:
            self.wrong = repr(self._received[:500])
            self._transport.abort()
        elif len(self._received) >= end + len(_END_OF_HEADERS) + (int(length[1]) if self._has_body else 0):
            self.answered += 1
            self._received = b""
            self._transport.write(self._request)
