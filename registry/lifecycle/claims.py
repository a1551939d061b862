"""What one rule says of one image, or of one tag: whether it takes it, and the sentence that says why."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from registry.lifecycle.images import Image
from registry.lifecycle.rules import Action, CountType, Rule, Selection, TagStatus

DAY = 24 * 60 * 60 * 1000  # milliseconds
_UNITS = ((DAY, "day"), (60 * 60 * 1000, "hour"), (60 * 1000, "minute"), (1000, "second"))
_BYTE_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_KIBI = 1024
_MOST_PATTERNS = 3  # in a sentence
_VERBS = {
    Action.EXPIRE: "expires",
    Action.TRANSITION: "archives",
    Action.KEEP: "keeps",
    Action.EXPIRE_TAGS: "removes",
}
_PHRASES = {
    CountType.IMAGE_COUNT_MORE_THAN: "all but the newest {number} of the {what}",
    CountType.SINCE_IMAGE_PUSHED: "{what} pushed more than {days} ago",
    CountType.SINCE_IMAGE_PULLED: "{what} not pulled for more than {days}",
    CountType.SINCE_IMAGE_TRANSITIONED: "{what} archived more than {days} ago",
    CountType.NOT_PULLED_FOR_DAYS: "{what} not pulled for more than {days}",
    CountType.REPOSITORY_SIZE_MORE_THAN: "the {what} unused for longest until the repository has at most {size}",
    CountType.TAG_COUNT_MORE_THAN: "all but the newest {number} of the {what}",
    CountType.TAG_OLDER_THAN_DAYS: "{what} set more than {days} ago",
    CountType.NEWEST_IMAGES: "the newest {number} of the {what}",
    CountType.PULLED_WITHIN_DAYS: "{what} pulled within {days}",
    CountType.PUSHED_WITHIN_DAYS: "{what} pushed within {days}",
    CountType.EVERY: "all {what}",
}
RANKED = (CountType.IMAGE_COUNT_MORE_THAN, CountType.NEWEST_IMAGES, CountType.TAG_COUNT_MORE_THAN)


@dataclass(frozen=True, slots=True)
class Claim:
    """`measure` is a rank from 1, or the instant of `event`, which the age counts from; None where nothing counts."""

    rule: Rule
    is_marked: bool
    measure: int | None = None
    event: str = ""

    def explain(self, now: int) -> str:
        """The reason, in which no other rule and no other image has a say."""
        said = f"rule {self.rule.priority} {_VERBS[self.rule.action]} {_show_target(self.rule)}"
        if self.measure is None:
            return f"{said}, and this was never pulled" if self.event else said
        if self.rule.count.kind in RANKED:
            return f"{said}, and this is number {self.measure}"
        return f"{said}, and this was {self.event} {show_span(now - self.measure)} ago"


def assess(rule: Rule, newest_first: Sequence[Image], now: int) -> Iterator[tuple[Image, Claim]]:
    """Every image that the rule selects with its claim, in the same order; not for counts of bytes and of tags."""
    selected = (image for image in newest_first if rule.selection.selects(image))
    count = rule.count
    match count.kind:
        case CountType.EVERY:
            return ((image, Claim(rule, is_marked=True)) for image in selected)
        case CountType.IMAGE_COUNT_MORE_THAN | CountType.NEWEST_IMAGES:
            wants_newest = count.kind is CountType.NEWEST_IMAGES
            return (
                (image, Claim(rule, (rank <= count.number) == wants_newest, rank))
                for rank, image in enumerate(selected, 1)
            )
    return ((image, _claim_by_age(rule, image, now)) for image in selected)


def claim_tag(rule: Rule, image: Image, tag: str, rank: int, now: int) -> Claim:
    """`rank` of the tag among those that the rule names, newest first, from 1."""
    number, set_at = rule.count.number, image.tags[tag]
    if rule.count.kind is CountType.TAG_COUNT_MORE_THAN:
        return Claim(rule, rank > number, rank)
    instant, event = set_at, "set"
    if rule.count.kind is CountType.NOT_PULLED_FOR_DAYS:
        used_at, used = last_use(image, rule.selection)
        instant, event = (used_at, used) if used_at >= set_at else (set_at, "set")
    return Claim(rule, now - instant > number * DAY, instant, event)


def last_use(image: Image, selection: Selection) -> tuple[int, str]:
    """When it was last pulled by one that counts, or pushed, and which of the two."""
    pulled = image.last_pulled_at(selection.ignored)
    if pulled is not None and pulled >= image.counted_at:
        return pulled, "pulled"
    return image.counted_at, "pushed" if image.restored_at is None else "restored"


def _claim_by_age(rule: Rule, image: Image, now: int) -> Claim:
    instant, event = _INSTANTS[rule.count.kind](image, rule.selection)
    if instant is None:
        return Claim(rule, is_marked=False, event=event)
    is_older = now - instant > rule.count.number * DAY
    return Claim(rule, is_older is not (rule.action is Action.KEEP), instant, event)


def _pushed(image: Image, _: Selection) -> tuple[int, str]:
    return image.counted_at, "pushed" if image.restored_at is None else "restored"


def _ecr_pulled(image: Image, selection: Selection) -> tuple[int, str]:
    """A restore or a push where there was no pull since the restore, as ECR has it."""
    pulled = image.last_pulled_at()
    if pulled is None or (image.restored_at is not None and pulled <= image.restored_at):
        return _pushed(image, selection)
    return pulled, "pulled"


def _pulled(image: Image, selection: Selection) -> tuple[int | None, str]:
    return image.last_pulled_at(selection.ignored), "pulled"


def _archived(image: Image, _: Selection) -> tuple[int | None, str]:
    return image.archived_at, "archived"


_INSTANTS: dict[CountType, Callable[[Image, Selection], tuple[int | None, str]]] = {
    CountType.SINCE_IMAGE_PUSHED: _pushed,
    CountType.SINCE_IMAGE_PULLED: _ecr_pulled,
    CountType.SINCE_IMAGE_TRANSITIONED: _archived,
    CountType.NOT_PULLED_FOR_DAYS: last_use,
    CountType.PULLED_WITHIN_DAYS: _pulled,
    CountType.PUSHED_WITHIN_DAYS: _pushed,
}


@lru_cache(maxsize=64)  # a policy has at most 50 rules, and a repository 100,000 images
def _show_target(rule: Rule) -> str:
    number = rule.count.number
    return _PHRASES[rule.count.kind].format(
        what=_show_selection(rule),
        number=number,
        days=f"{number} day{'s' * (number != 1)}",
        size=show_bytes(number),
    )


def _show_selection(rule: Rule) -> str:
    """What a rule speaks of, as the object of a sentence."""
    selection = rule.selection
    thing = "tags" if rule.action is Action.EXPIRE_TAGS else "images"
    if selection.tag_status is TagStatus.ANY:
        return thing
    if selection.tag_status is TagStatus.UNTAGGED:
        return f"{thing} without a tag"
    shown = [pattern.text + "*" * pattern.is_prefix for pattern in selection.patterns[:_MOST_PATTERNS]]
    rest = len(selection.patterns) - len(shown)
    patterns = ", ".join(shown) + f" and {rest} more" * bool(rest)
    like = "like" if len(selection.patterns) == 1 else "like any of" if selection.is_any_enough else "for each of"
    return f"{thing} {'' if thing == 'tags' else 'with a tag '}{like} {patterns}"


def show_span(span: int) -> str:
    """Milliseconds in the largest unit that fits and the next one that is not zero."""
    shown = []
    rest = max(span, 0)
    for unit, name in _UNITS:
        whole, rest = divmod(rest, unit)
        if whole:
            shown.append(f"{whole} {name}{'s' * (whole != 1)}")
    return " ".join(shown[:2]) or "0 seconds"


def show_bytes(size: int) -> str:
    """In the largest unit that leaves at least one."""
    amount, unit = float(size), 0
    while amount >= _KIBI and unit < len(_BYTE_UNITS) - 1:
        amount, unit = amount / _KIBI, unit + 1
    return f"{amount:.1f}".removesuffix(".0") + f" {_BYTE_UNITS[unit]}"
