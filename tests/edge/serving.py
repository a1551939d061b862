"""Any ASGI application behind the edge, on a loopback socket, in a thread of this process."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from registry.edge.connection import Connection
from registry.edge.limits import EdgeLimits
from tests.api.wire import HOST, SECONDS
from tests.waiting import wait_until


@contextlib.contextmanager
def serving(app: ASGIApp, limits: EdgeLimits | None = None) -> Iterator[int]:
    """Yields the port."""
    protocol = cast("type", partial(Connection, limits or EdgeLimits()))
    settings = uvicorn.Config(
        app, http=protocol, loop="uvloop", ws="none", lifespan="off", log_config=None, server_header=False
    )
    server = uvicorn.Server(settings)
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="edge")
        thread.start()
        try:
            wait_until(lambda: server.started, "the server listens")
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(SECONDS)
            assert not thread.is_alive(), "the server did not stop"
