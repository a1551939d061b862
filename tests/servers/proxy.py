"""A TCP proxy in front of a server: it counts connections, and can cut, hang or refuse them, or lose one answer."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

_SECONDS = 10
_PIECE = 64 << 10


class TcpProxy:
    """Forwards every connection to a port of this machine while the block lasts; runs in a thread of its own."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.connections = 0  # that were ever made
        self.heard: list[bytes] | None = None  # what clients send, from when it is made a list
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_refusing = False
        self._moves = asyncio.Event()  # cleared while nothing is carried
        self._lost = b""
        self._refuses_then = False
        self.is_lost = threading.Event()  # the answer that `lose_answer` asked for

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()

    def refuse(self) -> None:
        """Nobody gets through any more: connections are reset, those that are and those to come."""
        self._is_refusing = True
        self.cut()

    def hang(self) -> None:
        """Connections are accepted and kept, and nothing is carried in either direction."""
        self._loop.call_soon_threadsafe(self._moves.clear)

    def heal(self) -> None:
        """What was carried before hangs no more, what comes now gets through."""
        self._is_refusing = False
        self._loop.call_soon_threadsafe(self._moves.set)

    def cut(self) -> None:
        """Reset the connections that there are."""
        self._run(self._cancel())

    def lose_answer(self, to: bytes, *, and_refuse: bool = False) -> None:
        """Reset the connection that next sends `to`, once the server has answered it, and keep the answer.

        With `and_refuse` nobody gets through from that moment, so that nobody can ask again before the test goes on.
        """
        self.is_lost.clear()
        self._lost = to
        self._refuses_then = and_refuse

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)

    async def _listen(self) -> None:
        self._moves.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._server
        self._is_refusing = True  # also who was accepted just now
        self._server.close()
        await self._cancel()

    async def _cancel(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._is_refusing:
            writer.transport.abort()
            return
        task = self._loop.create_task(self._guard(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also when it was cancelled before it began

    async def _guard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await self._connect()
        waiting = asyncio.Event()
        directions = [
            self._loop.create_task(self._send(client, to_server, waiting)),
            self._loop.create_task(self._answer(server, to_client, waiting)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            if to_client.can_write_eof() and not to_client.transport.is_closing():
                await to_client.drain()
        finally:
            to_server.transport.abort()  # before anything is awaited: the end of the proxy may cancel this once more
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that is made while it is cancelled is ended, not forgotten."""
        connecting = self._loop.create_task(asyncio.open_connection("127.0.0.1", self._target))
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                (await connecting)[1].transport.abort()
            raise

    async def _send(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, waiting: asyncio.Event) -> None:
        while piece := await source.read(_PIECE):
            await self._moves.wait()
            if self.heard is not None:
                self.heard.append(piece)
            if self._lost and self._lost in piece:
                self._lost = b""
                waiting.set()
            sink.write(piece)
            await sink.drain()

    async def _answer(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, waiting: asyncio.Event) -> None:
        while piece := await source.read(_PIECE):
            if waiting.is_set():
                self._is_refusing = self._is_refusing or self._refuses_then
                self.is_lost.set()
                return
            await self._moves.wait()
            sink.write(piece)
            await sink.drain()
