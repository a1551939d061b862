"""The edge: the listening socket, the one-server lock, and uvicorn with every limit that it has."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from registry.api.guard import is_loopback
from registry.config import Config

_BACKLOG = 2048
_IDLE_SECONDS = 75  # of a kept-alive connection; longer than a load balancer's minute


class CannotServe(Exception):
    """The message says why, and what to do about it."""


def serve(app: ASGIApp, config: Config, on_listening: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM or SIGINT; then requests in flight have `drain_seconds`. Raises CannotServe.

    `on_listening` is told the host and port when the first request can come.
    """
    refuse_exposure(config)
    # uvicorn ends in order and then sends itself the signal again, for whoever handled it before: nobody, so exit 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with _only_server(config.database_path), _listen(config) as listener, contextlib.suppress(KeyboardInterrupt):
        host, port = listener.getsockname()[:2]
        _Server(_settings(app, config), lambda: on_listening(host, port)).run(sockets=[listener])


def refuse_exposure(config: Config) -> None:
    """Without a decision about strangers the registry is for this machine only. Raises CannotServe."""
    if config.anonymous is None and not is_loopback(config.host):
        raise CannotServe(
            f"protected mode: nobody decided what strangers may do, so it does not listen on {config.host}.\n"
            "Set ENTREPOT_ANONYMOUS=pull or ENTREPOT_ANONYMOUS=push to let everyone who reaches it pull, or push too;"
            " or stay on 127.0.0.1."
        )


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await asyncio.to_thread(self._on_listening)


def _settings(app: ASGIApp, config: Config) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
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
    return f"cannot listen on {where}: {problem.strerror or problem}"


@contextlib.contextmanager
def _only_server(database: Path) -> Iterator[None]:
    """Two servers on one embedded database would each believe that they alone append to its uploads."""
    descriptor = os.open(database.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CannotServe(f"another server uses {database.parent}: stop it, or set ENTREPOT_DATA") from None
    try:
        yield
    finally:
        os.close(descriptor)
