"""Request bodies: read with a deadline for each piece, because a client may stop sending and never say so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from registry.errors import BodyStalled, ManifestTooLarge, RegistryError, Unavailable

MOST_FORGOTTEN = 4 << 20  # bytes of a body that nobody asked for
FORGET_SECONDS = 2


async def stream(receive: Receive, idle_seconds: float) -> AsyncIterator[bytes]:
    """Yield the body's pieces. Raises BodyStalled, and ClientDisconnect when the client is gone."""
    is_whole = False
    while not is_whole:
        try:
            async with asyncio.timeout(idle_seconds):
                message = await receive()
        except TimeoutError:
            raise BodyStalled(headers={"Connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        is_whole = not message.get("more_body", False)
        if piece := message.get("body", b""):
            yield piece


class Memory:
    """The bytes of bodies that all requests together may hold at once."""

    def __init__(self, size: int) -> None:
        self._left = size

    @contextlib.asynccontextmanager
    async def holding(self, pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
        """The whole of a body, for as long as it is needed.

        Raises ManifestTooLarge when it has more than `limit` bytes, Unavailable when too much is held already.
        """
        held: list[bytes] = []
        size = 0
        try:
            async for piece in pieces:
                size += len(piece)
                self._left -= len(piece)
                if size > limit:
                    raise ManifestTooLarge(limit)
                if self._left < 0:
                    raise Unavailable("too many manifests at once", is_public=True)
                held.append(piece)
            yield b"".join(held)
        finally:
            self._left += size


async def forget(receive: Receive, limit: int, seconds: float) -> None:
    """Read up to `limit` bytes of a body that is of no use, for so many seconds. Raises as `stream` does.

    A request whose body cannot be read to its end is none, and is not carried out.
    """
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for piece in stream(receive, 2 * seconds):
                size += len(piece)
                if size > limit:
                    return


async def drain(receive: Receive, limit: int, seconds: float) -> bool:
    """Read and forget up to `limit` bytes of what the client still sends. False when there was more.

    A connection that is closed with unread bytes is reset, and a reset can overtake the answer.
    """
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while size <= limit:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return True
                size += len(message.get("body", b""))
    except (TimeoutError, RegistryError):
        pass
    return False
