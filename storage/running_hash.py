"""A running SHA-256 or SHA-512 whose state can be saved as a text and restored in another process, on any machine.

hashlib keeps its state to itself. The same OpenSSL that Python uses has functions that do not, and ctypes reaches
them; where it cannot, a hash runs all the same but saves nothing, and its owner must read the content again.
"""

import ctypes
import hashlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from storage.digest import new_hasher

if TYPE_CHECKING:
    from hashlib import _Hash

_LIBRARIES = ("libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.3.dylib")
_TRIED = bytes(range(256)) * 3


class _Sha256(ctypes.Structure):
    _fields_ = (
        ("h", ctypes.c_uint32 * 8),
        ("low", ctypes.c_uint32),
        ("high", ctypes.c_uint32),
        ("block", ctypes.c_ubyte * 64),
        ("held", ctypes.c_uint),
        ("size", ctypes.c_uint),
    )


class _Sha512(ctypes.Structure):
    _fields_ = (
        ("h", ctypes.c_uint64 * 8),
        ("low", ctypes.c_uint64),
        ("high", ctypes.c_uint64),
        ("block", ctypes.c_ubyte * 128),
        ("held", ctypes.c_uint),
        ("size", ctypes.c_uint),
    )


_CONTEXTS: dict[str, type[_Sha256] | type[_Sha512]] = {"sha256": _Sha256, "sha512": _Sha512}


class RunningHash(Protocol):
    """The hash of all content so far."""

    @property
    def algorithm(self) -> str: ...

    def update(self, content: bytes | bytearray | memoryview) -> None: ...

    def hexdigest(self) -> str: ...

    def save(self) -> str:
        """The state as a text, empty when it cannot be saved."""

    def copy(self) -> "RunningHash":
        """One that goes on by itself."""


class _PlainHash:
    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._hasher: _Hash = new_hasher(algorithm)

    def update(self, content: bytes | bytearray | memoryview) -> None:
        self._hasher.update(content)

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()

    def save(self) -> str:
        return ""

    def copy(self) -> RunningHash:
        other = _PlainHash(self.algorithm)
        other._hasher = self._hasher.copy()
        return other


class _OpenSslHash:
    def __init__(self, library: ctypes.CDLL, algorithm: str) -> None:
        new_hasher(algorithm)  # refuses what is no algorithm of ours
        self.algorithm = algorithm
        self._library = library
        self._context = _CONTEXTS[algorithm]()
        self._call("Init")

    def update(self, content: bytes | bytearray | memoryview) -> None:
        view = memoryview(content)
        if view.nbytes:
            held: Any = bytes(view) if view.readonly and not isinstance(content, bytes) else content
            address = held if isinstance(held, bytes) else (ctypes.c_char * view.nbytes).from_buffer(held)
            self._call("Update", address, ctypes.c_size_t(view.nbytes))

    def hexdigest(self) -> str:
        kept = type(self._context).from_buffer_copy(self._context)
        found = (ctypes.c_ubyte * (ctypes.sizeof(self._context.h)))()
        name = f"{self.algorithm.upper()}_Final"
        if getattr(self._library, name)(found, ctypes.byref(kept)) != 1:
            raise RuntimeError(f"{name} failed")
        return bytes(found).hex()

    def save(self) -> str:
        context = self._context
        bits = context.high << ctypes.sizeof(context.h) | context.low
        words = ",".join(f"{word:x}" for word in context.h)
        return f"{self.algorithm}:{bits // 8}:{words}:{bytes(context.block[: context.held]).hex()}"

    def copy(self) -> RunningHash:
        other = _OpenSslHash(self._library, self.algorithm)
        ctypes.memmove(ctypes.byref(other._context), ctypes.byref(self._context), ctypes.sizeof(self._context))
        return other

    def restore(self, saved: str) -> None:
        """Raises ValueError for what `save` did not write."""
        algorithm, size, words, held = saved.split(":")
        context, block = self._context, bytes.fromhex(held)
        bits, width = int(size) * 8, ctypes.sizeof(context.h)
        numbers = [int(word, 16) for word in words.split(",")]
        if algorithm != self.algorithm or len(numbers) != len(context.h) or len(block) != int(size) % (2 * width):
            raise ValueError("this is no saved state of the algorithm")
        context.h[:] = numbers
        context.high, context.low = bits >> width, bits & ((1 << width) - 1)
        context.block[: len(block)] = list(block)
        context.held = len(block)

    def _call(self, step: str, *arguments: Any) -> None:
        function = getattr(self._library, f"{self.algorithm.upper()}_{step}")
        if function(ctypes.byref(self._context), *arguments) != 1:
            raise RuntimeError(f"{self.algorithm.upper()}_{step} failed")


class RunningHashes:
    """Makes running hashes. With `is_plain` they cannot be saved, as where OpenSSL is out of reach."""

    def __init__(self, *, is_plain: bool = False) -> None:
        self._is_plain = is_plain
        self._lock = threading.Lock()
        self._found: list[ctypes.CDLL | None] = [None] if is_plain else []

    def begin(self, algorithm: str) -> RunningHash:
        """Raises InvalidDigest for an algorithm that is not one of ours."""
        library = self._library()
        return _OpenSslHash(library, algorithm) if library else _PlainHash(algorithm)

    def restore(self, algorithm: str, saved: str) -> RunningHash | None:
        """None when nothing was saved or it cannot be restored here."""
        library = self._library()
        if not library or not saved:
            return None
        running = _OpenSslHash(library, algorithm)
        running.restore(saved)
        return running

    def _library(self) -> ctypes.CDLL | None:
        with self._lock:
            if not self._found:
                self._found.append(next((found for found in _libraries() if _is_right(found)), None))
            return self._found[0]


def _libraries() -> Iterator[ctypes.CDLL]:
    linked = getattr(sys.modules.get("_hashlib"), "__file__", None)  # hashlib's own: what it is linked with is in it
    for name in [linked, *_LIBRARIES] if linked else _LIBRARIES:
        try:
            yield ctypes.CDLL(name)
        except OSError:
            continue


def _is_right(library: ctypes.CDLL) -> bool:
    """Whether the library hashes as hashlib does, also from a saved state."""
    try:
        for algorithm in _CONTEXTS:
            for split in (0, 1, 63, 64, 127, 128, 200):
                first, second = _OpenSslHash(library, algorithm), _OpenSslHash(library, algorithm)
                first.update(_TRIED[:split])
                second.restore(first.save())
                second.update(_TRIED[split:])
                if second.hexdigest() != hashlib.new(algorithm, _TRIED).hexdigest():
                    return False
    except (AttributeError, RuntimeError, ValueError):
        return False
    return True
