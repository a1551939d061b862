"""Request bodies: read with a deadline for each piece, because a client may stop sending and never say so."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from registry.errors import BodyStalled, ManifestTooLarge


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


async def read_at_most(receive: Receive, limit: int, idle_seconds: float) -> bytes:
    """The whole body. Raises ManifestTooLarge as soon as it is longer than `limit` bytes."""
    pieces: list[bytes] = []
    size = 0
    async for piece in stream(receive, idle_seconds):
        size += len(piece)
        if size > limit:
            raise ManifestTooLarge
        pieces.append(piece)
    return b"".join(pieces)


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
    except TimeoutError:
        pass
    return False
