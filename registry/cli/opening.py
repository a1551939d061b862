"""Opens the registry that the settings name for one command, also while servers run on it."""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import structlog
import typer

from registry.app import Registry
from registry.cli.invocation import Invocation, Refused, user_name
from registry.cli.output import print_hint
from registry.cli.places import name_settings, show_blobs, show_database, show_registry, without_password
from registry.cli.settings import load_config
from registry.config import Config, ConfigInvalid
from registry.errors import RegistryError, Unavailable
from registry.garbage import OtherWindow, Windows
from registry.identities import IdentityRefused
from registry.identity import Actor
from registry.lifecycle.refusals import LifecycleRefused
from registry.lifecycle.schema import PolicyInvalid
from registry.metadata import replicas
from registry.metadata.gate import Moved
from registry.passwords import PasswordInvalid
from registry.purges import NothingToPurge
from registry.stores import open_database, open_store
from storage.blobstore import ForeignStore, StoreUnavailable
from storage.killpoints import pass_by

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_PATIENCE_SECONDS = 60.0
_AGAIN_SECONDS = 1.0
_ABSENT = "0" * 32  # a key that no upload has


def read(ctx: typer.Context, file: Path | None, work: Callable[[Registry], Coroutine[Any, Any, T]]) -> T:
    """What `work` returns. Raises Refused."""
    config, _ = load_config(file)
    with explained(config, ctx.ensure_object(Invocation)):
        return asyncio.run(_join(config, work))


def change(ctx: typer.Context, file: Path | None, work: Callable[[Registry, Actor], Coroutine[Any, Any, T]]) -> T:
    """What `work` returns, which changes the registry. Raises Refused, also for other users than its owner."""
    config, _ = load_config(file)
    invocation = ctx.ensure_object(Invocation)
    refuse_other_user(config, invocation)
    with explained(config, invocation):
        return asyncio.run(_join(config, lambda registry: work(registry, invocation.actor)))


def make(ctx: typer.Context, file: Path | None, work: Callable[[Registry, Actor], Coroutine[Any, Any, T]]) -> T:
    """As `change`, and makes the registry where there is none: somebody must be known before it may be exposed."""
    config, _ = load_config(file)
    invocation = ctx.ensure_object(Invocation)
    refuse_other_user(config, invocation)
    with explained(config, invocation):
        return asyncio.run(_start_or_join(config, lambda registry: work(registry, invocation.actor)))


def is_guarded(config: Config, invocation: Invocation) -> bool:
    """Whether somebody can log in to the registry there, if there is one. Raises Refused."""
    with explained(config, invocation):
        return _may_be_there(config) and asyncio.run(_is_guarded(config))


def find_listener(config: Config) -> tuple[str, int]:
    """The host and port of the server that runs there, or ran last; those of the settings when none did.

    Several servers have several: there the settings say it, or better the public URL.
    """
    if config.is_embedded:
        with contextlib.suppress(OSError, ValueError):
            host, port = _lock_of(config).read_text("utf-8").split()
            return host, int(port)
    return config.host, config.port


async def is_served(registry: Registry) -> bool:
    """Whether a server runs on the registry now: it holds the embedded database's lock, or is seen by the shared one.

    Raises Unavailable.
    """
    if registry.database.is_shared:
        term = Windows(registry.config.undelete_days).term
        return bool(await registry.database.read(lambda tx: replicas.list_live(tx, term)))
    try:
        with _lock_of(registry.config).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def wait_reachable(config: Config, patience: float = _PATIENCE_SECONDS) -> None:
    """Wait for a database server or a blob server that is not up yet, for at most `patience` seconds.

    What is wrong with one that answers is told by what comes next. Raises Refused.
    """
    if config.is_embedded and config.bucket is None:
        return
    deadline = time.monotonic() + patience
    while True:
        try:
            asyncio.run(_ask(config))
        except (Unavailable, StoreUnavailable) as problem:
            place = show_database(config) if isinstance(problem, Unavailable) else show_blobs(config)
            text = without_password(config, str(problem))
            if time.monotonic() > deadline:
                raise Refused(f"{place}: {text}\n`entrepot doctor` examines what stands in the way") from None
            log.warning("waiting", what=place, problem=text)
            time.sleep(_AGAIN_SECONDS)
        else:
            return


async def _ask(config: Config) -> None:
    """Whichever of both is a server: an embedded database would be made by being opened."""
    if not config.is_embedded:
        database = open_database(config, None, pass_by)
        try:
            await database.read(lambda tx: tx.now())
        finally:
            database.close()
    if config.bucket is not None:
        store = open_store(config, pass_by)
        try:
            await store.size(_ABSENT)
        finally:
            store.close()


def refuse_other_user(config: Config, invocation: Invocation) -> None:
    """Files that root makes beside the database are files that its server cannot write. Raises Refused."""
    if not config.is_embedded:
        return
    with explained(config, invocation):
        owner = _find_owner(config)
    if owner is not None and owner != invocation.uid:
        raise Refused(
            f"the registry in {config.database_path.parent} belongs to the system user {user_name(owner)}, whose server"
            f" could not write the files that {invocation.user} makes.\n"
            f"Run it as the owner: {invocation.as_owner(owner)}"
        )


@contextlib.contextmanager
def explained(config: Config, invocation: Invocation) -> Iterator[None]:
    """Turn what goes wrong with the stores into one message that says what to do."""
    try:
        yield
    except ForeignStore as problem:
        raise Refused(
            f"{problem}\nThe database is {show_database(config)}, the blobs are in {show_blobs(config)}:"
            f" set {name_settings(config)} to two that belong together"
        ) from None
    except Unavailable as problem:
        raise _explain_unavailable(problem, config, invocation) from None
    except (
        RegistryError,
        ConfigInvalid,
        IdentityRefused,
        PasswordInvalid,
        LifecycleRefused,
        NothingToPurge,
        OtherWindow,
    ) as problem:
        raise Refused(str(problem)) from None
    except PolicyInvalid as problem:
        raise Refused(f"the lifecycle policy: {problem}") from None
    except BrokenPipeError:
        raise  # nothing is wrong with the stores: whoever reads what is printed has seen enough
    except StoreUnavailable as problem:
        raise Refused(f"{show_blobs(config)}: {problem.strerror or problem}") from None
    except OSError as problem:
        raise _explain_file(problem, config, invocation) from None


def _explain_unavailable(problem: Unavailable, config: Config, invocation: Invocation) -> Refused:
    if isinstance(problem, Moved):
        return Refused(
            f"{show_registry(config)}: the registry moves, or has moved, to {problem.place}.\nGive the server these"
            " places; or, before one serves there, let it serve here again: entrepot migrate --abort"
        )
    text = without_password(config, str(problem))
    return Refused(f"{show_database(config)}: {text}{_hint(config, invocation)}")


def _explain_file(problem: OSError, config: Config, invocation: Invocation) -> Refused:
    place = problem.filename or show_registry(config)
    if isinstance(problem, NotADirectoryError):
        place = next(path for path in (Path(place), *Path(place).parents) if path.exists())
        hint = ": set ENTREPOT_DATA to another one" if config.data.absolute().is_relative_to(place) else ""
        return Refused(f"{place} is not a directory{hint}")
    return Refused(f"{place}: {problem.strerror or problem}{_hint(config, invocation)}")


async def _join(config: Config, work: Callable[[Registry], Coroutine[Any, Any, T]]) -> T:
    if not _may_be_there(config):
        raise _none_here(config)
    registry = Registry(config)
    try:
        if not await registry.join():
            raise _none_here(config)
        return await work(registry)
    finally:
        registry.close()


async def _start_or_join(config: Config, work: Callable[[Registry], Coroutine[Any, Any, T]]) -> T:
    if config.is_embedded and _may_be_there(config):
        return await _join(config, work)  # also of one that a server is about to make
    registry = Registry(config)
    try:
        if config.is_embedded or not await registry.join():
            await registry.start()
            print_hint(
                f"There was no registry in {show_registry(config)}: it is made now, and no server runs on it yet."
                f" If your server's data is elsewhere, say so with {name_settings(config).partition(' ')[0]}."
            )
        return await work(registry)
    finally:
        registry.close()


async def _is_guarded(config: Config) -> bool:
    """An older version's database knows nobody, and the server is about to bring it up to date.

    The store is not looked at: a start that was killed may not have marked it yet.
    """
    registry = Registry(config)
    try:
        await registry.database.read(lambda tx: tx.now())  # or it would be taken for an older one
        with contextlib.suppress(Unavailable):
            return await registry.is_made() and await registry.identities.is_guarded()
        return False
    finally:
        registry.close()


def _may_be_there(config: Config) -> bool:
    """Whether opening the database makes no new one: only the embedded one is made by being opened. Raises OSError."""
    return not config.is_embedded or _find_owner(config) is not None


def _lock_of(config: Config) -> Path:
    """What a server on the embedded database keeps locked; it notes its address there."""
    return config.database_path.with_suffix(".lock")


def _find_owner(config: Config) -> int | None:
    """The system user whose embedded database it is, None when there is none. Raises OSError."""
    try:
        return os.stat(config.database_path).st_uid  # noqa: PTH116 - Path.stat says the same
    except FileNotFoundError:
        return None


def _none_here(config: Config) -> Refused:
    return Refused(
        f"there is no registry in {show_registry(config)} yet: `entrepot serve` makes one when it starts.\n"
        f"If it is elsewhere, say so with {name_settings(config).partition(' ')[0]} or --config"
    )


def _hint(config: Config, invocation: Invocation) -> str:
    if not config.is_embedded:
        return ""
    directory = config.database_path.parent
    with contextlib.suppress(OSError):
        owner = _find_owner(config)
        if owner is not None and owner != invocation.uid:
            return f"\nIt belongs to the system user {user_name(owner)}: try {invocation.as_owner(owner)}"
    if os.access(directory, os.W_OK):
        return ""
    with contextlib.suppress(OSError):
        owner = directory.stat().st_uid
        if owner != invocation.uid:
            return f"\n{directory} belongs to the system user {user_name(owner)}: try {invocation.as_owner(owner)}"
    return f"\nThe system user {invocation.user} must be able to write in {directory}"
