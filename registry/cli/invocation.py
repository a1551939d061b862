"""Who runs a command, with which words; and what a command says when it will not do it."""

import os
import pwd
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from registry.identity import Actor


class Refused(Exception):
    """The message says why the command was not done, and what to do about it. The exit status is 1."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """The system user `uid` runs `program` with `arguments`."""

    uid: int
    program: str
    arguments: Sequence[str]

    @classmethod
    def current(cls) -> Self:
        return cls(os.geteuid(), sys.argv[0], sys.argv[1:])

    @property
    def user(self) -> str:
        return user_name(self.uid)

    @property
    def actor(self) -> Actor:
        """The name that the change log gets."""
        return Actor(f"cli:{self.user}")

    def as_owner(self, owner: int) -> str:
        """The words that run the same command as another user, with the same environment."""
        return shlex.join(["sudo", "-u", user_name(owner), "-E", self.program, *self.arguments])


def user_name(uid: int) -> str:
    """The user's name; its number, as sudo writes it, in a container without a name for it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
