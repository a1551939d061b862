"""A plain round-robin load balancer: each connection goes to the next server that takes it. No sticky sessions."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

_SECONDS = 10
_PIECE = 64 << 10
HOST = "127.0.0.1"


class Balancer:
    """In front of the servers at `ports`, while the block lasts; runs in a thread of its own."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = 0
        self._ports = tuple(ports)
        self._turns = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="balancer")
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        turn = next(self._turns)
        try:
            for number in range(len(self._ports)):
                with contextlib.suppress(ConnectionError):
                    port = self._ports[(turn + number) % len(self._ports)]
                    server, to_server = await asyncio.open_connection(HOST, port)
                    break
            else:
                return
            try:
                await asyncio.gather(_carry(client, to_server), _carry(server, to_client))
            finally:
                to_server.transport.abort()
        finally:
            to_client.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE):
            sink.write(piece)
            await sink.drain()
        sink.write_eof()
