"""What of the edge works with the uvicorn that is installed, tried out before the first client comes."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import IO, Any

import structlog
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from registry.api.extensions import ZERO_COPY

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_SECONDS = 30  # on a machine that is busy with starting up
_CONTENT = b"entrepot" * 16_384  # more than leaves in one write
_HEADERS = [(b"Content-Length", b"%d" % len(_CONTENT))]
_REQUEST = b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Findings:
    """`serves`: uvicorn's server with our protocol. `sends_files`: the kernel, for it."""

    serves: bool
    sends_files: bool


def try_out(protocol: Callable[..., Any]) -> Findings:
    """What does not work is logged, with the reason; what cannot be tried, too, and is believed to work."""
    try:
        with open(os.memfd_create("trial"), "r+b") as file, socket.create_server(("127.0.0.1", 0)) as listener:  # noqa: PTH123 - it has no path
            file.write(_CONTENT)
            file.flush()
            return uvloop.run(_try_out(protocol, file, listener))
    except (OSError, AttributeError) as problem:
        log.warning("the edge could not be tried out", problem=repr(problem))
        return Findings(serves=True, sends_files=hasattr(os, "sendfile"))


async def _try_out(protocol: Callable[..., Any], file: IO[bytes], listener: socket.socket) -> Findings:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["path"] == "/file":
            await send({"type": ZERO_COPY, "file": file.fileno(), "offset": 0, "count": len(_CONTENT)})
        else:
            await send({"type": "http.response.body", "body": _CONTENT})

    settings = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None)  # type: ignore[arg-type]  # it only calls it
    server = uvicorn.Server(settings)
    host, port = listener.getsockname()[:2]

    async def start() -> bytes:
        settings.load()
        server.lifespan = settings.lifespan_class(settings)
        await server.startup(sockets=[listener])
        await server.on_tick(0)
        return await _ask(host, port, b"/")

    try:
        serves = await _works(start(), "our own HTTP does not work here: uvicorn's serves, without our limits in time")
        sends_files = serves and await _works(_ask(host, port, b"/file"), "the kernel does not send files here")
    finally:
        for each in getattr(server, "servers", []):
            each.close()
    return Findings(serves, sends_files)


async def _ask(host: str, port: int, path: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_REQUEST % path)
        return await reader.read(-1)
    finally:
        writer.close()


async def _works(asking: Coroutine[Any, Any, bytes], warning: str) -> bool:
    """What a protocol raises where the loop calls it would else be a client that waits."""
    task = asyncio.ensure_future(asking)
    raised: list[object] = []

    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raised.append(context.get("exception") or context["message"])
        task.cancel()

    asyncio.get_running_loop().set_exception_handler(note)
    try:
        answer = await asyncio.wait_for(task, _SECONDS)
    except (Exception, asyncio.CancelledError) as problem:  # noqa: BLE001 - whatever it is, there is another way
        log.warning(warning, problem=repr(raised[0] if raised else problem))
        return False
    head, _, content = answer.partition(b"\r\n\r\n")
    works = head.startswith(b"HTTP/1.1 200 OK\r\n") and content == _CONTENT
    if not works:
        log.warning(warning, problem=f"the answer was {answer[:100]!r}")
    return works
