"""What the S3 store must know of an upload to go on with it in another process: a JSON text in the session's row."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Self

from storage.blobstore import UploadMissing, UploadState
from storage.s3.parts import LEAST

_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    number: int
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Tail:
    """The last bytes, too few for a part, as the object `tails/KEY.SLOT`. `sha256` tells them from a late writer's."""

    slot: int
    size: int
    sha256: str


@dataclass(slots=True)
class Progress:
    """`replaces`: the ETag of an object that already is under the key and that the commit is to replace, or none."""

    multipart: str = ""
    parts: list[Part] = field(default_factory=list)
    tail: Tail | None = None
    running: str = ""
    is_chunked: bool = False
    replaces: str = ""

    @classmethod
    def of(cls, upload: UploadState) -> Self:
        """Read the upload's own. Raises UploadMissing when it does not account for every byte up to the offset."""
        if not upload.progress:
            if upload.offset:
                raise UploadMissing(upload.key)
            return cls()
        try:
            read = json.loads(upload.progress)
            progress = cls(
                read["multipart"],
                [Part(number, size, etag) for number, size, etag in read["parts"]],
                Tail(*read["tail"]) if read["tail"] else None,
                read["hash"],
                read["chunked"],
                read["replaces"],
            )
        except (ValueError, KeyError, TypeError):  # of another kind of store, from before a move
            raise UploadMissing(upload.key) from None
        if upload.offset and progress.size != upload.offset:
            raise UploadMissing(upload.key)
        return progress

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts) + (self.tail.size if self.tail else 0)

    @property
    def next_number(self) -> int:
        return self.parts[-1].number + 1 if self.parts else 1

    @property
    def ends_short(self) -> bool:
        """Whether no part can follow the last one, because it is too small for any place but the last."""
        return bool(self.parts) and self.parts[-1].size < LEAST

    def dump(self) -> str:
        tail = self.tail
        return json.dumps(
            {
                "multipart": self.multipart,
                "parts": [[part.number, part.size, part.etag] for part in self.parts],
                "tail": [tail.slot, tail.size, tail.sha256] if tail else None,
                "hash": self.running,
                "chunked": self.is_chunked,
                "replaces": self.replaces,
            },
            separators=(",", ":"),
        )


def expect_etag(parts: list[Part]) -> str:
    """The ETag of the object that these parts make; empty where the parts' own are no MD5 sums."""
    if not all(_MD5.fullmatch(part.etag) for part in parts):
        return ""
    sums = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(sums, usedforsecurity=False).hexdigest()}-{len(parts)}"
