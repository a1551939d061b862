"""Blobs as files: `uploads/KEY` while they come, `data/KK/KEY` once committed (KK: the key's first two characters).

Durable means: the file is synced, then renamed, then the directories that name it are synced. A sync that failed is
never tried again, because the kernel forgets the failure and the next one would lie: the upload is given up.
"""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from aiofiles.threadpool import wrap

from storage.blobstore import (
    BlobMissing,
    ForeignStore,
    OpenBlob,
    StoreFull,
    UploadBusy,
    UploadMissing,
    UploadState,
)
from storage.digest import Digest, new_hasher
from storage.files import (
    BATCH,
    OpenFile,
    forget_cached,
    full_disk_named,
    given_up,
    hash_on,
    list_entries,
    make_directories,
    open_committed,
    sync_directory,
    write_all,
    write_durably,
)
from storage.killpoints import Reach, pass_by
from storage.reserve import require_room
from storage.waiting import see_through

if TYPE_CHECKING:
    from hashlib import _Hash

P = ParamSpec("P")
T = TypeVar("T")

FORMAT = 1
_MARKER = ".entrepot"
_KEY = re.compile(r"[0-9A-Za-z_-]+", re.ASCII)
_LEAST_ROOM = 1 << 20  # bytes: with less a push is bound to fail
_HASHED_AT_ONCE = 8 << 20  # bytes of a stored blob: some milliseconds
_HASHED_INLINE = 64 << 10  # bytes: hashing so few costs less than a thread hop
_RUNNING_HASHES = 1024  # kept for uploads between two requests; a missing one costs a read of the file


@dataclass(slots=True)
class _RunningHash:
    offset: int
    hasher: "_Hash"

    def is_of(self, upload: UploadState) -> bool:
        """Whether it is of these bytes: another process may have written others up to the same offset."""
        return self.offset == upload.offset and self.hasher.hexdigest() == upload.progress


class FilesystemBlobStore:
    """A BlobStore in the directory `root`, which it makes when it is bound; `reserve` as `require_room` has it."""

    def __init__(self, root: Path, *, threads: int = 16, reach: Reach = pass_by, reserve: int | None = None) -> None:
        self._root = root
        self._uploads = root / "uploads"
        self._data = root / "data"
        self._reach = reach
        self._reserve = reserve
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blob-store")
        self._folders: set[Path] = set()
        self._folders_lock = threading.Lock()
        self._is_closed = threading.Event()
        self._hashes: OrderedDict[str, _RunningHash] = OrderedDict()

    def close(self) -> None:
        """End what runs, as soon as it can be ended: reading a large upload again takes longer than a shutdown may."""
        self._is_closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def bind(self, instance: str, *, is_populated: bool) -> None:
        await self._in_thread(self._bind, instance, is_populated)

    async def verify(self, instance: str) -> None:
        if not await self._in_thread(self._is_marked, instance):
            raise ForeignStore(f"{self._root} is empty or unmarked: is its volume mounted?")

    async def append(
        self,
        upload: UploadState,
        content: AsyncIterable[bytes],
        *,
        is_last: bool = False,  # noqa: ARG002
        is_streamed: bool = False,  # noqa: ARG002
    ) -> UploadState:
        with full_disk_named(), contextlib.ExitStack() as opened:
            creating = 0 if upload.offset else os.O_CREAT
            descriptor, path = await self._in_thread(self._lock, upload, opened, creating)
            running, offset, is_begun = await self._running_hash(upload), upload.offset, False
            try:
                # A late writer finds in its content's first piece that it is none any more: until then all stays as is.
                async for batch in _batches(content):
                    is_begun = is_begun or await self._in_thread(self._prepare, upload, descriptor, path)
                    await self._write(descriptor, batch, offset, running)
                    offset += len(batch)
                is_begun = is_begun or await self._in_thread(self._prepare, upload, descriptor, path)
            except BaseException:
                if is_begun:  # a torn chunk must not fill the disk until the next one
                    await self._in_thread(os.ftruncate, descriptor, upload.offset)
                raise
        self._reach("append.written")
        self._remember(upload.key, _RunningHash(offset, running))
        return replace(upload, offset=offset, progress=running.hexdigest())

    async def digest(self, upload: UploadState, algorithm: str) -> Digest:
        running = self._hashes.get(upload.key)
        if running and running.is_of(upload) and running.hasher.name == algorithm:
            return Digest(algorithm, running.hasher.hexdigest())
        hasher = await self._in_thread(self._hash_stored, upload, algorithm)
        return Digest(algorithm, hasher.hexdigest())

    async def commit(self, upload: UploadState) -> None:
        with full_disk_named():
            await self._in_thread(self._commit, upload)
        self._hashes.pop(upload.key, None)
        self._reach("commit.done")

    async def abort(self, upload: UploadState) -> None:
        self._hashes.pop(upload.key, None)
        await self._in_thread(self._upload_path(_own(upload.key)).unlink, missing_ok=True)
        await self.delete(upload.key)

    async def sweep(self, key: str) -> None:
        await self._in_thread(self._upload_path(_own(key)).unlink, missing_ok=True)

    async def open(self, key: str, size: int) -> OpenBlob:
        with contextlib.ExitStack() as opened:  # it closes the file, also for a caller who was cancelled
            try:
                file = await self._in_thread(self._open_download, key, opened)
            except FileNotFoundError:
                raise BlobMissing(key) from None
            stored = os.fstat(file.fileno()).st_size
            if stored != size:
                raise BlobMissing(f"{key} has {stored} of {size} bytes")
            opened.pop_all()
        return OpenFile(wrap(file, executor=self._threads), size)

    async def digest_stored(self, key: str, algorithm: str) -> Digest:
        hasher = new_hasher(algorithm)
        with contextlib.ExitStack() as opened:
            try:
                descriptor = await self._in_thread(self._open_blob, key, opened)
            except FileNotFoundError:
                raise BlobMissing(key) from None
            # In pieces, so that a shutdown need not wait for the end of a large blob.
            while await self._in_thread(hash_on, descriptor, hasher, _HASHED_AT_ONCE):
                pass
            await self._in_thread(forget_cached, descriptor)
        return Digest(algorithm, hasher.hexdigest())

    async def size(self, key: str) -> int | None:
        try:
            return (await self._in_thread(self._blob_path(key).stat)).st_size
        except FileNotFoundError:
            return None

    async def locate(self, key: str, size: int) -> str | None:  # noqa: ARG002 - files have no URL
        return None

    async def delete(self, key: str) -> None:
        await self._in_thread(self._blob_path(_own(key)).unlink, missing_ok=True)

    async def probe(self) -> None:
        await self._in_thread(self._probe)

    async def keys(self) -> AsyncIterator[str]:
        for folder in await self._in_thread(list_entries, self._data):
            for path in await self._in_thread(list_entries, folder):
                yield path.name

    async def uploads(self) -> AsyncIterator[tuple[str, int]]:
        for path in await self._in_thread(list_entries, self._uploads):
            with contextlib.suppress(FileNotFoundError):  # it ended since it was listed
                yield path.name, (await self._in_thread(path.stat)).st_size

    async def _running_hash(self, upload: UploadState) -> "_Hash":
        if upload.offset == 0:
            return new_hasher(upload.algorithm)
        running = self._hashes.get(upload.key)
        if running and running.is_of(upload):
            return running.hasher.copy()  # a torn append must leave the recorded one as it was
        hasher = await self._in_thread(self._hash_stored, upload, upload.algorithm)
        self._remember(upload.key, _RunningHash(upload.offset, hasher))
        return hasher.copy()

    async def _write(self, descriptor: int, batch: bytes, offset: int, running: "_Hash") -> None:
        writing = self._in_thread(self._write_batch, descriptor, batch, offset)
        if len(batch) <= _HASHED_INLINE:
            running.update(batch)
            await writing
        else:
            await asyncio.gather(writing, self._in_thread(running.update, batch))

    def _remember(self, key: str, running: _RunningHash) -> None:
        self._hashes[key] = running
        self._hashes.move_to_end(key)
        if len(self._hashes) > _RUNNING_HASHES:
            self._hashes.popitem(last=False)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Cancelled, it ends when the thread does: the caller closes what the thread uses."""
        loop = asyncio.get_running_loop()
        return await see_through(loop.run_in_executor(self._threads, partial(work, *args, **kwargs)))

    # Everything below runs in a thread of the store.

    def _bind(self, instance: str, is_populated: bool) -> None:
        is_marked = self._is_marked(instance)
        if not is_marked:
            self._refuse_unmarked(instance, is_populated=is_populated)
        make_directories(self._uploads, self._data)  # a backup may have left out what was empty
        if not is_marked:
            write_durably(self._root / _MARKER, json.dumps({"instance": instance, "format": FORMAT}))

    def _is_marked(self, instance: str) -> bool:
        """Whether the registry `instance` has claimed the store. Raises ForeignStore when another one has."""
        marker = self._root / _MARKER
        try:
            found = json.loads(marker.read_text())
        except FileNotFoundError:
            return False
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ForeignStore(f"{marker} is damaged: restore it from a backup")
        if found.get("instance") != instance:
            raise ForeignStore(f"{self._root} belongs to another registry's database")
        if found.get("format") != FORMAT:
            raise ForeignStore(f"{self._root} has format {found.get('format')}, this version reads {FORMAT}")
        return True

    def _probe(self) -> None:
        space = os.statvfs(self._uploads)
        if space.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, f"the volume of {self._root} is mounted read-only")
        if space.f_favail == 0 < space.f_files:
            raise StoreFull(f"no room for another file on the volume of {self._root}")
        require_room(self._uploads, self._reserve, adding=_LEAST_ROOM)

    def _refuse_unmarked(self, instance: str, *, is_populated: bool) -> None:
        if is_populated:
            raise ForeignStore(
                f"{self._root} is empty or unmarked, but the database knows of blobs: is its volume mounted?"
            )
        # A finds no marker, B makes it and stores a blob, A finds what is B's: they are servers of one registry.
        if self._data.is_dir() and any(self._data.iterdir()) and not self._is_marked(instance):
            raise ForeignStore(f"{self._root} holds blobs, but no marker and no row of this database names them")

    def _lock(self, upload: UploadState, opened: contextlib.ExitStack, creating: int = 0) -> tuple[int, Path]:
        descriptor, path = self._open_either(upload.key, os.O_RDWR | creating, opened)
        try:
            # Two writers: A's request hangs, the client tries again as B. Without the lock A wakes up and writes
            # over bytes that B has hashed. With it B is refused while A lives; the kernel frees it when A dies.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UploadBusy(upload.key) from None
        if os.fstat(descriptor).st_size < upload.offset:
            raise UploadMissing(upload.key)
        self._reach("append.created")
        return descriptor, path

    def _open_either(self, key: str, flags: int, opened: contextlib.ExitStack) -> tuple[int, Path]:
        """`opened` will close the descriptor, also for a caller who was cancelled and never hears of it."""
        path = self._upload_path(key)
        try:
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o640)
        except FileNotFoundError:  # committed, and no row followed: the process was killed, or the database was full
            path = self._blob_path(key)
            descriptor = open_committed(path, flags | os.O_CLOEXEC)
        opened.callback(os.close, descriptor)
        return descriptor, path

    def _prepare(self, upload: UploadState, descriptor: int, path: Path) -> bool:
        """Make a locked file one to append to. Returns that it is."""
        if path == self._blob_path(upload.key):
            with contextlib.suppress(FileNotFoundError):
                path.rename(self._upload_path(upload.key))
        os.ftruncate(descriptor, upload.offset)
        return True

    def _write_batch(self, descriptor: int, batch: bytes, offset: int) -> None:
        require_room(descriptor, self._reserve, adding=len(batch))
        write_all(descriptor, batch, offset)

    def _open_download(self, key: str, opened: contextlib.ExitStack) -> FileIO:
        return opened.enter_context(self._blob_path(key).open("rb", buffering=0))

    def _open_blob(self, key: str, opened: contextlib.ExitStack) -> int:
        """As _lock does, `opened` will close it. What memory has of the file proves nothing about the disk."""
        descriptor = os.open(self._blob_path(key), os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, descriptor)
        forget_cached(descriptor)
        return descriptor

    def _hash_stored(self, upload: UploadState, algorithm: str) -> "_Hash":
        hasher = new_hasher(algorithm)
        left = upload.offset
        with contextlib.ExitStack() as opened:
            descriptor, _ = self._open_either(upload.key, os.O_RDONLY, opened)
            while left and (piece := os.read(descriptor, min(left, BATCH))):
                if self._is_closed.is_set():
                    raise OSError(errno.ECANCELED, "the server ends")
                hasher.update(piece)
                left -= len(piece)
        if left:
            raise UploadMissing(upload.key)
        return hasher

    def _commit(self, upload: UploadState) -> None:
        source, target = self._upload_path(upload.key), self._blob_path(upload.key)
        self._make_folder(target.parent)
        with contextlib.ExitStack() as opened:
            # When there is a file of the upload, a client began again after a crash or a full database, and what it
            # sent now is what counts. Else an earlier commit has made the target, and no row named it since.
            if upload.offset == 0 and not source.exists():
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
            descriptor, path = self._lock(upload, opened)
            if os.fstat(descriptor).st_size != upload.offset:
                raise UploadMissing(upload.key)  # A is late with its commit, B has appended: nobody may cut that off
            with given_up(path):
                os.fsync(descriptor)
            self._reach("commit.synced")
            if path == source:
                source.rename(target)
        self._reach("commit.renamed")
        with given_up(target):
            sync_directory(target.parent)

    def _make_folder(self, folder: Path) -> None:
        # A makes the folder, B finds it and commits into it, the power fails before A has synced the name: B's blob
        # is lost. So every process syncs the name of each folder once itself, before its first commit there.
        with self._folders_lock:
            if folder not in self._folders:
                folder.mkdir(mode=0o750, parents=True, exist_ok=True)
                self._reach("folder.made")
                sync_directory(folder.parent)
                self._folders.add(folder)

    def _upload_path(self, key: str) -> Path:
        return self._uploads / key

    def _blob_path(self, key: str) -> Path:
        return self._data / key[:2] / key


def _own(key: str) -> str:
    """What is removed is ours, whatever rows somebody has brought in. Raises ValueError."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no storage key")
    return key


async def _batches(content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    pieces: list[bytes] = []
    size = 0
    async for piece in content:
        pieces.append(piece)
        size += len(piece)
        if size >= BATCH:
            yield b"".join(pieces)
            pieces, size = [], 0
    if size:
        yield b"".join(pieces)
