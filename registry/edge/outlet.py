"""A client's socket for a file: the kernel moves the bytes (sendfile(2)), none of them pass through this process.

What lies in memory is sent at once, the rest by a thread, because sendfile waits for the disk even on a socket that
never waits. A thread does not wait for a slow client for long: it gives its place to others, and the event loop waits.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import socket
import sys
import termios
import time

from registry.edge.limits import EdgeLimits
from storage.waiting import see_through

SMALL = 64 << 10  # bytes of a file that are read and leave with the head in one write
_AT_ONCE = 1 << 20  # bytes that the event loop itself sends: some hundred microseconds
_LOOKED_AT = 256 << 10  # bytes: so far apart it is asked what lies in memory
_PIECE = 8 << 20  # bytes of one call: at most as many as the socket has room for
_TURN = 0.25  # seconds that a thread sends before others have their turn
_FAST = 1 << 20  # bytes that a client has taken in a turn so far: a thread waits for one that takes more
_PATIENCE = 5  # milliseconds that it does


class ClientTooSlow(Exception):
    """It has not taken what the rate demands."""


class Outlet:
    """Past the transport, which must have nothing to send, and is told nothing meanwhile.

    Socket and file are our own descriptors of the same things: what a thread still uses is never a number that somebody
    else was given meanwhile.
    """

    def __init__(self, transport: asyncio.Transport, file: int, limits: EdgeLimits) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._transport = transport
        self._judged_at = self._loop.time()  # the client's pace, anew after each span of patience
        self._taken = -left_to_take(transport)  # bytes of the file that the client had by then
        self.sent = 0  # bytes of the file
        self._file = os.dup(file)
        try:
            self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        except BaseException:
            os.close(self._file)
            raise

    def close(self) -> None:
        self._socket.close()
        os.close(self._file)

    async def send(self, head: bytes, offset: int, count: int) -> None:
        """Raises ClientTooSlow, ConnectionError when the client has gone, and any other OSError of the file."""
        await self._send_head(head)
        if is_in_memory(self._file, offset, min(count, _AT_ONCE)):
            self.sent = self._move(offset, min(count, _AT_ONCE))
        while self.sent < count:
            at, left = offset + self.sent, count - self.sent
            moved = await see_through(self._loop.run_in_executor(None, self._move, at, left, _PATIENCE))
            self.sent += moved
            if not moved:
                await self._wait_for_room()

    async def _send_head(self, head: bytes) -> None:
        left = memoryview(head)
        while left:
            try:
                left = left[self._socket.send(left, socket.MSG_MORE) :]
            except BlockingIOError:
                await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        """Raises ClientTooSlow."""
        has_room = asyncio.Event()
        self._loop.add_writer(self._socket.fileno(), has_room.set)
        try:
            while not has_room.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.patience):
                        await has_room.wait()
                self._judge()
        finally:
            self._loop.remove_writer(self._socket.fileno())

    def _judge(self) -> None:
        """By what the client has, because a socket tells of room only when there is much. Raises ClientTooSlow."""
        if self._loop.time() - self._judged_at < self._limits.patience:
            return
        taken = self.sent - left_to_take(self._transport)
        if taken - self._taken < self._limits.rate * self._limits.patience:
            raise ClientTooSlow
        self._judged_at, self._taken = self._loop.time(), taken

    def _move(self, offset: int, count: int, patience: int = 0) -> int:
        """Returns how many bytes went, in one turn or until the client took no more for `patience` milliseconds."""
        at, end = offset, offset + count
        room = select.poll()
        room.register(self._socket, select.POLLOUT)
        until = time.monotonic() + _TURN
        while at < end and time.monotonic() < until:
            try:
                moved = os.sendfile(self._socket.fileno(), self._file, at, min(end - at, _PIECE))
            except BlockingIOError:
                if not (patience and at - offset > _FAST and room.poll(patience)):
                    break
                continue
            except OSError:
                if at == offset:
                    raise
                break  # what went is counted; the next turn fails again
            if not moved and at == offset:
                raise OSError(errno.EIO, "the file ended early")
            if not moved:
                break
            at += moved
        return at - offset


def left_to_take(transport: asyncio.Transport) -> int:
    """Bytes that were written and that the client has not said it has; what the system has of them only if it tells."""
    left = transport.get_write_buffer_size()
    with contextlib.suppress(OSError):
        sent = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        left += int.from_bytes(sent, sys.byteorder)
    return left


def read_in_memory(file: int, offset: int, count: int) -> bytes | None:
    """The bytes, if none of them has to come from the disk."""
    piece = bytearray(count)
    with contextlib.suppress(OSError):  # not in memory, or on a file system that cannot say so
        if os.preadv(file, [piece], offset, os.RWF_NOWAIT) == count:
            return bytes(piece)
    return None


def is_in_memory(file: int, offset: int, count: int) -> bool:
    """Whether its pages are, as far as looking at some of them tells."""
    looked_at = [*range(offset, offset + count, _LOOKED_AT), offset + count - 1]
    return all(read_in_memory(file, each, 1) is not None for each in looked_at)
