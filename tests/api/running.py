"""The whole registry on a loopback socket, in a thread of this process; several can run at once."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.app import create_app
from registry.edge.trial import Findings
from registry.identity import Clock, milliseconds_now
from registry.server import _Server, _settings
from storage.killpoints import Reach, pass_by
from tests import places
from tests.api.wire import HOST, SECONDS, Call, Connection, Reply, send
from tests.stored import open_stored, read_rows

_DRAIN_SECONDS = 2
_FINDINGS = {edge: Findings(serves=edge == "on", sends_files=edge == "on") for edge in ("on", "off")}


class RunningServer:
    """Serves the directory `folder` with the given settings until it is stopped."""

    def __init__(
        self, folder: Path, *, clock: Clock = milliseconds_now, reach: Reach = pass_by, **settings: Any
    ) -> None:
        self.folder = folder
        chosen: dict[str, Any] = {"host": HOST, "port": 0, "drain_seconds": _DRAIN_SECONDS} | settings
        self.config = config = places.make_config(folder, **chosen)
        self.stored = open_stored(config)
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        app = create_app(config, clock=clock, reach=reach)
        is_listening = threading.Event()
        self._server = _Server(app, _settings(app, config, _FINDINGS[config.edge]), is_listening.set)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), name=f"server-{self.port}")
        self._thread.start()
        assert is_listening.wait(SECONDS), "the server did not start"

    def begin_to_stop(self) -> None:
        """What `stop` begins with: several servers can drain at the same time."""
        self._server.should_exit = True

    def stop(self) -> None:
        self.begin_to_stop()
        self._thread.join(SECONDS)
        self._listener.close()
        assert not self._thread.is_alive(), "the server did not stop"

    def send(self, call: Call) -> Reply:
        return send(self.port, call)

    def call(self, method: str, path: str, *headers: tuple[str, str], body: bytes | tuple[bytes, ...] = b"") -> Reply:
        return self.send(Call(method, path, headers, body))

    def connect(self) -> Connection:
        return Connection(self.port)

    def uploads_left(self) -> list[str]:
        """The keys of uploads that nobody has finished or cancelled."""
        return self.stored.uploads()

    def has_writer(self) -> bool:
        """Whether a chunk is being written now."""
        return bool(read_rows(self.config, "SELECT id FROM upload WHERE writer IS NOT NULL"))

    def keys_stored(self) -> list[str]:
        """Those of all blobs, sorted."""
        return self.stored.blobs()


@contextlib.contextmanager
def running(folder: Path, **settings: Any) -> Iterator[RunningServer]:
    """As RunningServer, until the block ends."""
    server = RunningServer(folder, **settings)
    try:
        yield server
    finally:
        server.stop()


class Gate:
    """Kill points as barriers: a held point stops the first thread that reaches it until the test lets it go.

    Only for points that are reached in threads of the store or of the database; the others would stop the server.
    """

    def __init__(self) -> None:
        self._held: dict[str, tuple[threading.Event, threading.Event]] = {}

    def __call__(self, point: str) -> None:
        if held := self._held.pop(point, None):
            arrived, released = held
            arrived.set()
            assert released.wait(SECONDS), f"nobody let {point} go"

    @contextlib.contextmanager
    def hold(self, point: str) -> Iterator[threading.Event]:
        """Stop whoever reaches `point` next until the block ends. Yields the event of its arrival."""
        arrived, released = threading.Event(), threading.Event()
        self._held[point] = (arrived, released)
        try:
            yield arrived
        finally:
            self._held.pop(point, None)
            released.set()
