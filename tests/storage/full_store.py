"""A process whose files may not grow past a limit: what a store without room answers. Run by test_filesystem.py."""

import asyncio
import json
import resource
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path

from storage.blobstore import StoreFull, UploadState
from storage.digest import Digest
from storage.filesystem import FilesystemBlobStore
from tests.storage.content import MIB, make_content, pieces, read_blob

LIMIT = 2 * MIB


async def outcome(work: Awaitable[object]) -> str:
    try:
        await work
    except StoreFull:
        return "full"
    return "done"


async def main(root: Path) -> dict[str, object]:
    store = FilesystemBlobStore(root, threads=2)
    await store.bind("one", is_populated=False)
    upload = await store.append(UploadState("key", 0), pieces(make_content(MIB)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
    first = await outcome(store.append(upload, pieces(*[make_content(MIB)] * 5)))
    size = (root / "uploads" / "key").stat().st_size
    digest = await store.digest(upload, "sha256")
    upload = await store.append(upload, pieces(b"small enough"))
    await store.commit(upload)
    content = await read_blob(store, "key", upload.offset)
    store.close()
    return {
        "first": first,
        "size_afterwards": size,
        "has_old_digest": digest == Digest.of(make_content(MIB)),
        "is_whole": content == make_content(MIB) + b"small enough",
    }


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
