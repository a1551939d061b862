"""A rule that holds a repository to a number of bytes: what was used longest ago goes until the rest fits."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from registry.lifecycle.claims import Claim, last_use
from registry.lifecycle.images import Image
from registry.lifecycle.removal import Relations, Removals, Weight
from registry.lifecycle.rules import Rule

Use = tuple[int, int, str]  # when, how deep below what nothing holds, and the event


def assess_size(
    rule: Rule, images: Mapping[str, Image], relations: Relations, removals: Removals, decided: AbstractSet[str]
) -> list[tuple[Image, Claim]]:
    """Claims about the images that nobody has `decided` about, which it also marks in `removals`.

    The bytes are those of all images that higher rules leave, selected or not. An index goes with the images
    that only it contains and that never had a tag, selected or not: they have the bytes, and count as used when the
    index was.
    """
    loose = {digest for digest, image in images.items() if image.is_newborn and digest not in decided}
    weight = Weight(image for digest, image in images.items() if digest not in removals.gone)
    uses = _find_uses(rule, images, relations)
    claims = []
    for digest in sorted(uses, key=lambda digest: (uses[digest][:2], images[digest].removal_key)):
        image = images[digest]
        if digest in decided or digest in removals.gone or not rule.selection.selects(image):
            continue
        is_marked = weight.total > rule.count.number and removals.is_free(digest)
        if is_marked:
            for gone in removals.mark(digest, loose):
                weight.remove(images[gone])
        used_at, _, event = uses[digest]
        claims.append((image, Claim(rule, is_marked, used_at, event)))
    return claims


def _find_uses(rule: Rule, images: Mapping[str, Image], relations: Relations) -> dict[str, Use]:
    uses: dict[str, Use] = {}
    for digest in relations.descend(images):
        used_at, event = last_use(images[digest], rule.selection)
        depth = 0
        for holder in relations.holders.get(digest, ()):
            held_at, above, held_event = uses[holder]
            depth = max(depth, above + 1)
            if held_at > used_at:
                used_at, event = held_at, held_event
        uses[digest] = used_at, depth, event
    return uses
