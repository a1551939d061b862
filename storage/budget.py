"""The memory that the content of all uploads together may take. Waits are fair, and nobody waits for nothing.

Who finds it used up waits while bytes are under way to the store, for those come back by themselves. When none are,
all of it is held by uploads that wait for their clients: then the caller is told, and puts its bytes on the disk.
"""

import asyncio
from collections import deque


class Budget:
    """`size` bytes. For use in one event loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        self.highest = 0
        self._launched = 0
        self._waiting: deque[tuple[int, asyncio.Future[bool]]] = deque()

    def take_now(self, size: int) -> bool:
        """Take so many bytes if they are there and nobody has waited longer."""
        if self._waiting or not self._fits(size):
            return False
        self._take(size)
        return True

    async def take(self, size: int) -> bool:
        """Take so many bytes, after all who came before. False: they are not there, and will not come by waiting."""
        if self.take_now(size):
            return True
        if not self._launched or size > self.size:
            return False
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.result():
                self.give(size)
            raise

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.held -= size
        self._wake()

    def launch(self, size: int) -> None:
        """So many of the taken bytes are under way: they come back without anybody's help."""
        self._launched += size

    def land(self, size: int) -> None:
        """Give back what was launched."""
        self._launched -= size
        self.give(size)

    def _fits(self, size: int) -> bool:
        return self.held + size <= self.size

    def _take(self, size: int) -> None:
        self.held += size
        self.highest = max(self.highest, self.held)

    def _wake(self) -> None:
        while self._waiting:
            size, granted = self._waiting[0]
            if granted.done():  # cancelled
                self._waiting.popleft()
            elif self._fits(size):
                self._waiting.popleft()
                self._take(size)
                granted.set_result(True)
            elif self._launched:
                break
            else:
                self._waiting.popleft()
                granted.set_result(False)
