"""A TCP proxy that breaks one connection in the middle, as a bad network does."""

import asyncio
import threading
from types import TracebackType
from typing import Self


class CuttingProxy:
    """Forwards to the registry and drops the first connection that has carried a number of bytes, then forwards only.

    Used as a context manager; it runs in a thread of its own, so that the test can wait for a client meanwhile.
    """

    def __init__(self, target_port: int, *, downloaded: int | None = None, uploaded: int | None = None) -> None:
        self.cuts = 0
        self._target_port = target_port
        self._limits = {"down": downloaded, "up": uploaded}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(timeout=10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self._loop.create_task(self._forward(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        directions = [
            self._loop.create_task(self._copy(client, to_server, "up")),
            self._loop.create_task(self._copy(server, to_client, "down")),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.close()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: str) -> None:
        carried = 0
        while chunk := await source.read(65536):
            carried += len(chunk)
            limit = self._limits[direction]
            if limit is not None and carried > limit:
                self._limits[direction] = None
                self.cuts += 1
                return
            sink.write(chunk)
            await sink.drain()
