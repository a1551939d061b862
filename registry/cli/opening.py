"""Opens the registry of the embedded database for one command, also while a server runs on it."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import typer

from registry.app import Registry
from registry.cli.invocation import Invocation, Refused, user_name
from registry.cli.output import print_hint
from registry.cli.settings import load_config
from registry.config import Config, ConfigInvalid
from registry.errors import RegistryError, Unavailable
from registry.garbage import OtherWindow
from registry.identities import IdentityRefused
from registry.identity import Actor
from registry.lifecycle.refusals import LifecycleRefused
from registry.lifecycle.schema import PolicyInvalid
from registry.passwords import PasswordInvalid
from registry.purges import NothingToPurge
from storage.blobstore import ForeignStore

T = TypeVar("T")


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
        return _find_owner(config) is not None and asyncio.run(_is_guarded(config))


def find_listener(config: Config) -> tuple[str, int]:
    """The host and port of the server that runs there, or ran last; those of the settings when none did."""
    with contextlib.suppress(OSError, ValueError):
        host, port = config.database_path.with_suffix(".lock").read_text("utf-8").split()
        return host, int(port)
    return config.host, config.port


def is_served(config: Config) -> bool:
    """Whether a server runs on the embedded database now: it holds the lock."""
    try:
        with config.database_path.with_suffix(".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def refuse_other_user(config: Config, invocation: Invocation) -> None:
    """Files that root makes beside the database are files that its server cannot write. Raises Refused."""
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
            f"{problem}\nThe database is {config.database_path}, the blobs are in {config.storage_path}:"
            " set ENTREPOT_DATA (or ENTREPOT_DATABASE and ENTREPOT_STORAGE) to two that belong together"
        ) from None
    except Unavailable as problem:
        raise Refused(f"{config.database_path}: {problem}{_hint(config, invocation)}") from None
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
    except OSError as problem:
        place = problem.filename or config.database_path.parent
        if isinstance(problem, NotADirectoryError):
            place = next(path for path in (Path(place), *Path(place).parents) if path.exists())
            hint = ": set ENTREPOT_DATA to another one" if config.data.absolute().is_relative_to(place) else ""
            raise Refused(f"{place} is not a directory{hint}") from None
        raise Refused(f"{place}: {problem.strerror or problem}{_hint(config, invocation)}") from None


async def _join(config: Config, work: Callable[[Registry], Coroutine[Any, Any, T]]) -> T:
    if _find_owner(config) is None:
        raise _none_here(config)
    registry = Registry(config)
    try:
        if not await registry.join():
            raise _none_here(config)
        return await work(registry)
    finally:
        registry.close()


async def _start_or_join(config: Config, work: Callable[[Registry], Coroutine[Any, Any, T]]) -> T:
    if _find_owner(config) is not None:
        return await _join(config, work)
    registry = Registry(config)
    try:
        await registry.start()
        print_hint(
            f"There was no registry in {config.database_path.parent}: it is made now, and no server runs on it yet."
            " If your server's data is elsewhere, say so with ENTREPOT_DATA."
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
        with contextlib.suppress(Unavailable):
            return await registry.is_made() and await registry.identities.is_guarded()
        return False
    finally:
        registry.close()


def _find_owner(config: Config) -> int | None:
    """The system user whose database it is, None when there is none. Raises OSError."""
    try:
        return os.stat(config.database_path).st_uid  # noqa: PTH116 - Path.stat says the same
    except FileNotFoundError:
        return None


def _none_here(config: Config) -> Refused:
    return Refused(
        f"there is no registry in {config.database_path.parent} yet: `entrepot serve` makes one when it starts.\n"
        "If it is elsewhere, say so with ENTREPOT_DATA or --config"
    )


def _hint(config: Config, invocation: Invocation) -> str:
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
