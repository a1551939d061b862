"""Arguments that are names: text that is none is wrong usage."""

from typing import Annotated

import typer

from registry.errors import NameInvalid
from registry.oci.names import RepositoryName, Tag, TagInvalid


def _parse_repository(text: str) -> RepositoryName:
    try:
        return RepositoryName.parse(text)
    except NameInvalid as problem:
        raise typer.BadParameter(str(problem)) from None


def _parse_tag(text: str) -> Tag:
    try:
        return Tag.parse(text)
    except TagInvalid as problem:
        raise typer.BadParameter(str(problem)) from None


RepositoryArgument = Annotated[
    RepositoryName, typer.Argument(metavar="REPOSITORY", parser=_parse_repository, help="The repository's name.")
]
TagArgument = Annotated[Tag, typer.Argument(metavar="TAG", parser=_parse_tag, help="The tag's name.")]
