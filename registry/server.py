"""The edge: the listening socket, the one-server lock, TLS, and uvicorn, set up."""

import asyncio
import contextlib
import errno
import fcntl
import math
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, cast

import structlog
import uvicorn
from starlette.types import ASGIApp, Message

from registry.api.door import Door
from registry.api.origin import is_loopback
from registry.api.repeats import Repeats
from registry.app import make_head_limits
from registry.config import Config
from registry.edge.connection import Connection
from registry.edge.limits import EdgeLimits
from registry.edge.trial import Findings, try_out
from registry.identity import milliseconds_now
from registry.tls import Certificate, CertificateInvalid

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_BACKLOG = 2048
_TICK_SECONDS = 0.1
_NOTHING = Findings(serves=False, sends_files=False)


class CannotServe(Exception):
    """The message says why, and what to do about it."""


def serve(
    app: ASGIApp, config: Config, on_listening: Callable[[str, int], None], certificate: Certificate | None
) -> None:
    """Serve until SIGTERM or SIGINT; then requests in flight have `drain_seconds`.

    `on_listening` is told the host and port when the first request can come. `certificate` is what `open_certificate`
    returned. Raises CannotServe, and what the app's startup raises.
    """
    _allow_descriptors()
    with contextlib.ExitStack() as held:
        lock = held.enter_context(_only_server(config.database_path)) if config.is_embedded else None
        findings = try_out(partial(Connection, EdgeLimits())) if config.edge == "on" else _NOTHING
        listener = held.enter_context(_listen(config))
        held.enter_context(contextlib.suppress(KeyboardInterrupt))
        host, port = listener.getsockname()[:2]
        if lock is not None:
            _note_address(lock, host, port)
        settings = _settings(app, config, findings, certificate)
        server = _Server(app, settings, lambda: on_listening(host, port), certificate)
        # For a signal that comes before uvicorn handles it, and for the one that uvicorn sends itself again at its end.
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
        server.run(sockets=[listener])


def _note_address(lock: int, host: str, port: int) -> None:
    """For the commands that say where to log in: not worth refusing to start for when the disk is full."""
    try:
        os.truncate(lock, 0)
        os.pwrite(lock, f"{host} {port}\n".encode(), 0)
    except OSError as problem:
        log.warning("address not noted", problem=str(problem))


def refuse_exposure(config: Config, *, is_guarded: bool) -> None:
    """Without users and a decision about strangers the registry is for this machine only. Raises CannotServe."""
    if config.anonymous is None and not (is_guarded or config.admin_user or is_loopback(config.host)):
        raise CannotServe(
            f"protected mode: nobody can log in yet, so it does not listen on {config.host}.\n"
            "Make the first user with `entrepot user add NAME --admin` (or ENTREPOT_ADMIN_USER and"
            " ENTREPOT_ADMIN_PASSWORD_FILE);\nor let everyone who reaches it pull, or push too, with"
            " ENTREPOT_ANONYMOUS=pull or ENTREPOT_ANONYMOUS=push; or stay on 127.0.0.1"
        )


def open_certificate(config: Config) -> Certificate | None:
    """What to serve HTTPS with, None for plain HTTP. Raises CannotServe."""
    if config.tls_cert is None or config.tls_key is None:
        return None
    try:
        return Certificate(config.tls_cert, config.tls_key, milliseconds_now)
    except CertificateInvalid as problem:
        raise CannotServe(str(problem)) from None


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
    def __init__(
        self,
        app: ASGIApp,
        settings: uvicorn.Config,
        on_listening: Callable[[], None],
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(settings)
        self._app = app
        self._app_lifespan = _Lifespan(app)
        self._on_listening = on_listening
        self._certificate = certificate
        self._watch: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._app_lifespan.start()
        await super().startup(sockets)
        if self._certificate is not None:
            self._watch = asyncio.create_task(self._certificate.watch())
            if threading.current_thread() is threading.main_thread():  # nobody else may wait for signals
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._certificate.reload_soon)
        await asyncio.to_thread(self._on_listening)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._linger()
        log.info("stopping", requests=len(self.server_state.tasks))
        if self._watch is not None:
            self._watch.cancel()
        await super().shutdown(sockets)
        await self._app_lifespan.end()
        log.info("stopped")

    async def _linger(self) -> None:
        """Go on as one that is not ready: load balancers send what comes elsewhere before connections close."""
        seconds = self._app.ending.begin() if isinstance(self._app, Door) else 0
        for _ in range(round(seconds / _TICK_SECONDS)):
            if self.force_exit:  # a second Ctrl+C
                return
            await asyncio.sleep(_TICK_SECONDS)


def _choose_protocol(
    config: Config, findings: Findings, repeats: Repeats | None
) -> Literal["httptools"] | type[asyncio.Protocol]:
    if not findings.serves:
        return "httptools"
    limits = EdgeLimits(
        make_head_limits(config),
        header_seconds=config.header_seconds,
        idle_seconds=config.idle_seconds,
        patience=config.body_idle_seconds,
        rate=config.bytes_per_second,
    )
    return cast(
        "type[asyncio.Protocol]", partial(Connection, limits, repeats=repeats, sends_files=findings.sends_files)
    )  # uvicorn only calls it


def _settings(
    app: ASGIApp, config: Config, findings: Findings, certificate: Certificate | None = None
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=_choose_protocol(config, findings, app.repeats if isinstance(app, Door) else None),
        ws="none",
        lifespan="off",  # see _Lifespan
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the guard knows whom to believe
        server_header=False,
        timeout_keep_alive=math.ceil(config.idle_seconds),
        timeout_graceful_shutdown=config.drain_seconds,
        ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
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
def _only_server(database: Path) -> Iterator[int]:
    """Two servers on one embedded database would each believe that they alone append to its uploads.

    On a network volume the lock is as good as the volume's; SQLite's own locks need the same.
    """
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
        yield descriptor
    finally:
        os.close(descriptor)
