"""Arguments that are names: text that is none is wrong usage."""

import contextlib
import re
from typing import Annotated

import typer

from registry.errors import NameInvalid
from registry.oci.names import RepositoryName, Tag, TagInvalid

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


RepositoryArgument = Annotated[
    RepositoryName, typer.Argument(metavar="REPOSITORY", parser=_parse_repository, help="The repository's name.")
]
TagArgument = Annotated[Tag, typer.Argument(metavar="TAG", parser=_parse_tag, help="The tag's name.")]
