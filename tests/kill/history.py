"""What a client knows: of every name in the registry, the states that the answers it got leave possible.

An acknowledged change leaves one state; a request without an answer leaves the old and the new one, and all its changes
go together: wholly there or wholly not.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

State = str | None  # the digest of what is there, None when nothing is


class Kind(Enum):
    BLOB = "blobs"
    MANIFEST = "manifests"
    TAG = "tags"


@dataclass(frozen=True, slots=True)
class Name:
    """Something a client can ask for: a blob or manifest by digest, or a tag."""

    kind: Kind
    repository: str
    reference: str

    @property
    def path(self) -> str:
        folder = Kind.BLOB if self.kind is Kind.BLOB else Kind.MANIFEST
        return f"/v2/{self.repository}/{folder.value}/{self.reference}"


Changes = Mapping[Name, State]


@dataclass(slots=True)
class OpenSession:
    """An upload session that was not closed: `offset` bytes of `content` are acknowledged.

    `may_be_closed`: its closing PUT was sent; `may_be_cancelled`: its DELETE was.
    """

    location: str
    repository: str
    content: bytes
    offset: int = 0
    may_be_closed: bool = False
    may_be_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class _Unknown:
    before: Mapping[Name, frozenset[State]]
    changes: Changes


class History:
    """The record of all clients of one registry; each name is written by one client only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._possible: dict[Name, frozenset[State]] = defaultdict(lambda: frozenset({None}))
        self._unknown: list[_Unknown] = []
        self.repositories: dict[str, bool] = {}  # True: it exists, False: perhaps
        self.sessions: dict[str, OpenSession] = {}
        self.log: list[str] = []

    def acknowledged(self, request: str, changes: Changes) -> None:
        with self._lock:
            self.log.append(f"acknowledged {request}")
            for name, state in changes.items():
                self._possible[name] = frozenset({state})
                self.repositories[name.repository] = True
            self._unknown = [unknown for unknown in self._unknown if not changes.keys() & unknown.changes.keys()]

    def unknown(self, request: str, changes: Changes) -> None:
        with self._lock:
            self.log.append(f"unknown {request}")
            before = {name: self._possible[name] for name in changes}
            self._unknown.append(_Unknown(before, changes))
            for name, state in changes.items():
                self._possible[name] |= {state}
                self.repositories.setdefault(name.repository, False)

    def names(self) -> list[Name]:
        return list(self._possible)

    def contradictions(self, seen: Changes) -> list[str]:
        """Every way in which what was `seen` differs from what the answers promised; none is right."""
        wrong = [
            f"{name}: {state} is there, but only {set(self._possible[name])} can be"
            for name, state in seen.items()
            if state not in self._possible[name]
        ]
        for unknown in self._unknown:
            fresh = [name for name, state in unknown.changes.items() if unknown.before[name] != {state}]
            done = {seen[name] == unknown.changes[name] for name in fresh}
            if len(done) > 1:
                wrong.append(f"half of a request is visible: {[(name, seen[name]) for name in fresh]}")
        return wrong
