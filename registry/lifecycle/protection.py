"""Tags that a repository's setting protects: no rule takes them, nor the images that they point to."""

from collections.abc import Iterable, Mapping, Sequence

from registry.lifecycle.images import Image
from registry.lifecycle.patterns import Pattern


def find_protected(images: Iterable[Image], patterns: Sequence[Pattern]) -> Mapping[str, str]:
    """The images that have a protected tag, by digest, each with the reason why it stays."""
    if not patterns:
        return {}
    protected: dict[str, str] = {}
    for image in images:
        for tag in sorted(image.tags):
            pattern = find_pattern(tag, patterns)
            if pattern is not None:
                protected[image.digest] = f"the repository's setting protect={pattern.text} keeps its tag {tag}"
                break
    return protected


def find_pattern(tag: str, patterns: Sequence[Pattern]) -> Pattern | None:
    """The first of the patterns that the tag is like."""
    return next((pattern for pattern in patterns if pattern.is_match(tag)), None)
