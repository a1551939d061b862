"""deploy/nginx.conf as a tree, and as a file for a proxy that runs as a plain process of this machine."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import DEPLOY

CONFIGURATION = DEPLOY / "nginx.conf"
_REPLICAS = re.compile(r"(?:^ *server registry-\d+:5000 resolve .*;\n)+", re.MULTILINE)
_WORD = re.compile(r"""\s+|\#[^\n]*|[{};]|"(?:\\.|[^"])*"|[^\s{};]+""")


def local_configuration(folder: Path, port: int, replicas: Sequence[int]) -> str:
    """The file, listening on a port of 127.0.0.1, in front of replicas on others, with what it writes in a folder.

    It does without name service, which nginx 1.22 has not for replicas, and without TLS.
    """
    text = CONFIGURATION.read_text()
    text = _REPLICAS.sub(lambda found: _servers(found[0], replicas), text)
    text = re.sub(r"^ *(?:resolver|include) .*;\n", "", text, flags=re.MULTILINE)
    text = text.replace("listen 5000 ", f"listen 127.0.0.1:{port} ")
    return text.replace(" /tmp/", f" {folder}/")


def _servers(lines: str, replicas: Sequence[int]) -> str:
    line = lines.splitlines(keepends=True)[0]
    return "".join(re.sub(r"registry-\d+:5000 resolve", f"127.0.0.1:{port}", line) for port in replicas)


@dataclass(frozen=True)
class Directive:
    """A line, or a block with what is in it."""

    name: str
    arguments: tuple[str, ...]
    block: tuple["Directive", ...] = ()

    def all(self, name: str) -> list["Directive"]:
        return [directive for directive in self.block if directive.name == name]

    def one(self, name: str) -> "Directive":
        (found,) = self.all(name)
        return found

    def walk(self) -> Iterator["Directive"]:
        for directive in self.block:
            yield directive
            yield from directive.walk()


def parse(text: str) -> Directive:
    """The whole file as one block without a name. Raises ValueError."""
    blocks: list[list[Directive]] = [[]]
    heads: list[list[str]] = []
    words: list[str] = []
    for word in filter(_says_something, _WORD.findall(text)):
        if word not in "{};":
            words.append(word)
            continue
        if word == "{":
            heads.append(words)
            blocks.append([])
        elif word == ";":
            blocks[-1].append(_directive(words))
        elif words or not heads:
            raise ValueError(f"no semicolon, or a brace too many, after {words}")
        else:
            inner = tuple(blocks.pop())
            blocks[-1].append(_directive(heads.pop(), inner))
        words = []
    if words or heads:
        raise ValueError(f"no semicolon, or no closing brace, after {words or heads}")
    return _directive([""], tuple(blocks[0]))


def _says_something(word: str) -> bool:
    return not word.isspace() and not word.startswith("#")


def _directive(words: Sequence[str], block: tuple[Directive, ...] = ()) -> Directive:
    name, *arguments = words
    return Directive(name, tuple(arguments), block)
