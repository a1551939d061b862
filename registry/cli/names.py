"""Arguments that are names, patterns and actions: text that is none is wrong usage."""

import contextlib
import re
from typing import Annotated

import typer

from registry.access.globs import PatternInvalid, RepositoryGlob
from registry.access.grants import ActionsInvalid, Grant
from registry.errors import DigestInvalid, NameInvalid
from registry.oci.names import Reference, RepositoryName, Tag, TagInvalid, parse_digest, parse_reference
from storage.digest import Digest

# An image as docker names it: a host with a dot or a port, the repository, a tag, a digest.
_IMAGE = re.compile(r"(?:https?://)?(?:[^/]*[.:][^/]*/)?(?P<repository>[^:@]+)(?::[^/@]*)?(?:@.*)?")


def _parse_repository(text: str) -> RepositoryName:
    try:
        return RepositoryName.parse(text)
    except NameInvalid as problem:
        raise typer.BadParameter(_hint(text) or str(problem)) from None


def _hint(text: str) -> str:
    """What to write in place of an image's whole name, nothing when the text is none."""
    image = _IMAGE.fullmatch(text)
    if image and ":" in text:
        with contextlib.suppress(NameInvalid):
            return f"a repository's name has no host and no tag: {RepositoryName.parse(image['repository'])}"
    return ""


def _parse_tag(text: str) -> Tag:
    try:
        return Tag.parse(text)
    except TagInvalid as problem:
        raise typer.BadParameter(str(problem)) from None


def parse_tag_or_digest(text: str) -> Reference:
    """Raises BadParameter."""
    try:
        return parse_reference(text)
    except (TagInvalid, DigestInvalid) as problem:
        raise typer.BadParameter(str(problem)) from None


def _parse_digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except DigestInvalid as problem:
        raise typer.BadParameter(str(problem)) from None


def parse_grants(patterns: list[str], actions: str, tags: str) -> list[Grant]:
    """One for each pattern. Raises BadParameter."""
    return [parse_grant(pattern, actions, tags) for pattern in dict.fromkeys(patterns)]


def parse_grant(repositories: str, actions: str, tags: str) -> Grant:
    """Raises BadParameter."""
    try:
        return Grant.parse(repositories, actions, tags)
    except (PatternInvalid, ActionsInvalid) as problem:
        raise typer.BadParameter(str(problem)) from None


def _parse_glob(text: str) -> RepositoryGlob:
    try:
        return RepositoryGlob.parse(text)
    except PatternInvalid as problem:
        raise typer.BadParameter(str(problem)) from None


RepositoryArgument = Annotated[
    RepositoryName, typer.Argument(metavar="REPOSITORY", parser=_parse_repository, help="The repository's name.")
]
TagArgument = Annotated[Tag, typer.Argument(metavar="TAG", parser=_parse_tag, help="The tag's name.")]
ReferenceArgument = Annotated[  # a text, for typer takes no union: see parse_tag_or_digest
    str, typer.Argument(metavar="REFERENCE", help="A tag, or the manifest's digest.")
]
DigestArgument = Annotated[
    Digest, typer.Argument(metavar="DIGEST", parser=_parse_digest, help="The manifest's digest: sha256:...")
]
ContentArgument = Annotated[
    Digest,
    typer.Argument(metavar="DIGEST", parser=_parse_digest, help="The digest of a manifest or a blob: sha256:..."),
]
OptionalContentArgument = Annotated[
    Digest | None,
    typer.Argument(metavar="DIGEST", parser=_parse_digest, help="The digest of a manifest or a blob: sha256:..."),
]
RepositoryOption = Annotated[
    RepositoryName | None,
    typer.Option("--repository", metavar="NAME", parser=_parse_repository, help="The repository's name."),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name.")]
GranteeArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A user, robot, group or trust rule; anonymous is everyone, known or not."),
]
GlobArgument = Annotated[
    RepositoryGlob,
    typer.Argument(metavar="GLOB", parser=_parse_glob, help="Which repositories: * is one part of a name, ** several."),
]
ActionsArgument = Annotated[
    str, typer.Argument(metavar="ACTIONS", help="Of pull, push, create, delete, admin; with commas.")
]
