"""What the S3 store remembers of uploads in this process. All of it can be done without: it saves requests."""

from collections import OrderedDict

from storage.running_hash import RunningHash

_MOST_KEYS = 4096


class Ends:
    """The last bytes of uploads that were too few for a part; `token` (an ETag or digest) says which they are."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[str, tuple[str, bytearray]] = OrderedDict()

    def put(self, key: str, token: str, content: bytearray) -> None:
        self.drop(key)
        self._kept[key] = (token, content)
        self._size += len(content)
        while self._size > self._limit:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._size -= len(oldest)

    def get(self, key: str, token: str) -> bytearray | None:
        found, content = self._kept.get(key, ("", bytearray()))
        return content if found == token else None

    def drop(self, key: str) -> None:
        _, content = self._kept.pop(key, ("", bytearray()))
        self._size -= len(content)


class Begun:
    """What was begun in the store under a key, so that it ends with the upload though no row names it."""

    def __init__(self) -> None:
        self._multiparts: OrderedDict[str, set[str]] = OrderedDict()
        self._tailed: OrderedDict[str, None] = OrderedDict()

    def add(self, key: str, multipart: str) -> None:
        self._multiparts.setdefault(key, set()).add(multipart)
        self._multiparts.move_to_end(key)
        if len(self._multiparts) > _MOST_KEYS:
            self._multiparts.popitem(last=False)

    def end(self, key: str, multipart: str) -> None:
        left = self._multiparts.get(key, set()) - {multipart}
        self._multiparts.pop(key, None)
        for other in left:
            self.add(key, other)

    def find(self, key: str) -> set[str]:
        return set(self._multiparts.get(key, ()))

    def add_tail(self, key: str) -> None:
        self._tailed[key] = None
        if len(self._tailed) > _MOST_KEYS:
            self._tailed.popitem(last=False)

    def has_tail(self, key: str) -> bool:
        return key in self._tailed

    def end_tail(self, key: str) -> None:
        self._tailed.pop(key, None)


class PlainHashes:
    """Running hashes that cannot be saved, each as it was at an offset."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, RunningHash]] = OrderedDict()

    def put(self, key: str, offset: int, running: RunningHash) -> None:
        self._kept[key] = (offset, running)
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_KEYS:
            self._kept.popitem(last=False)

    def get(self, key: str, offset: int) -> RunningHash | None:
        found, running = self._kept.get(key, (0, None))
        return running.copy() if running and found == offset else None

    def drop(self, key: str) -> None:
        self._kept.pop(key, None)
