"""The edge: the listening socket, the one-server lock, and uvicorn, set up."""

import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp, Message

from registry.api.guard import is_loopback
from registry.config import Config

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_BACKLOG = 2048
_IDLE_SECONDS = 75  # of a kept-alive connection; longer than a load balancer's minute


class CannotServe(Exception):
    """The message says why, and what to do about it."""


def serve(app: ASGIApp, config: Config, on_listening: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM or SIGINT; then requests in flight have `drain_seconds`.

    `on_listening` is told the host and port when the first request can come. Raises CannotServe, and what the app's
    startup raises.
    """
    refuse_exposure(config)
    _allow_descriptors()
    with _only_server(config.database_path), _listen(config) as listener, contextlib.suppress(KeyboardInterrupt):
        host, port = listener.getsockname()[:2]
        server = _Server(app, _settings(app, config), lambda: on_listening(host, port))
        # For a signal that comes before uvicorn handles it, and for the one that uvicorn sends itself again at its end.
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
        server.run(sockets=[listener])


def refuse_exposure(config: Config) -> None:
    """Without a decision about strangers the registry is for this machine only. Raises CannotServe."""
    if config.anonymous is None and not is_loopback(config.host):
        raise CannotServe(
            f"protected mode: nobody decided what strangers may do, so it does not listen on {config.host}.\n"
            "Set ENTREPOT_ANONYMOUS=pull or ENTREPOT_ANONYMOUS=push to let everyone who reaches it pull, or push too;"
            " or stay on 127.0.0.1"
        )


def _allow_descriptors() -> None:
    """Each download and each connection takes a descriptor, and the usual soft limit is that of a desktop program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Lifespan:
    """The app's startup and shutdown, as the ASGI lifespan protocol words them.

    In place of uvicorn's, which turns what the startup raised into a traceback in the log and an exit with status 3.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._is_up = asyncio.Event()
        self._running: asyncio.Future[None]

    async def start(self) -> None:
        """Raises what the app raises."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        self._running = asyncio.ensure_future(self._app(scope, self._events.get, self._note))
        self._events.put_nowait({"type": "lifespan.startup"})
        up = asyncio.create_task(self._is_up.wait())
        await asyncio.wait((self._running, up), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if not self._is_up.is_set():
            await self._running

    async def end(self) -> None:
        self._events.put_nowait({"type": "lifespan.shutdown"})
        await self._running

    async def _note(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            self._is_up.set()


class _Server(uvicorn.Server):
    def __init__(self, app: ASGIApp, settings: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(settings)
        self._app_lifespan = _Lifespan(app)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._app_lifespan.start()
        await super().startup(sockets)
        await asyncio.to_thread(self._on_listening)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("stopping", requests=len(self.server_state.tasks))
        await super().shutdown(sockets)
        await self._app_lifespan.end()
        log.info("stopped")


def _settings(app: ASGIApp, config: Config) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",  # see _Lifespan
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the guard knows whom to believe
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=config.drain_seconds,
    )


@contextlib.contextmanager
def _listen(config: Config) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
        except OSError as problem:
            raise CannotServe(_explain(problem, config)) from None
        listener.listen(_BACKLOG)
        yield listener


def _explain(problem: OSError, config: Config) -> str:
    where = f"{config.host}:{config.port}"
    if problem.errno == errno.EADDRINUSE:
        return f"something else listens on {where}: stop it, or choose another port with --port or ENTREPOT_PORT"
    if problem.errno == errno.EACCES:
        return f"only root may listen on {where}: choose a port above 1023 with --port or ENTREPOT_PORT"
    return f"cannot listen on {where}: {problem.strerror or problem}. Choose an address of this machine with --host"


@contextlib.contextmanager
def _only_server(database: Path) -> Iterator[None]:
    """Two servers on one embedded database would each believe that they alone append to its uploads."""
    lock = database.with_suffix(".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as problem:
        raise CannotServe(f"{lock}: {problem.strerror}. The server must be able to write in that directory") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CannotServe(
            f"another server serves {database.parent}: stop it, or set ENTREPOT_DATA to another directory"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
