"""Tests of a policy, kept as JSON beside it: images in, verdicts out. docs/lifecycle.md describes the format."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from registry.lifecycle.images import Image
from registry.lifecycle.patterns import Pattern, PatternInvalid
from registry.lifecycle.rules import Policy
from registry.lifecycle.selection import select_expired
from registry.lifecycle.verdicts import Outcome, Verdict
from registry.oci.media_types import OCI_INDEX, OCI_MANIFEST
from registry.oci.names import Tag, TagInvalid
from registry.oci.strict_json import JSONRefused, decode

REST = "*"  # all that no expectation names
UNTAGGED = "untagged"  # of a tag that a rule about tags takes, while its image stays
WORDS = (*Outcome, UNTAGGED)

_SOMEDAY = 1_798_761_600_000  # 2027-01-01: the instant of a test that only knows ages
_SOMEONE = "someone"
_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}  # milliseconds
_AGE = re.compile(r"([0-9]{1,6})([mhd])", re.ASCII)
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?", re.ASCII
)
_LARGEST = (1 << 63) - 1
_SHARED_KEYS = ("at", "protect", "images")
_CASE_KEYS = ("name", *_SHARED_KEYS, "expect")
_IMAGE_KEYS = ("digest", "tags", "pushed", "pulled", "size", "children", "subject")
_EXPECTED_KEYS = ("verdict", "rule", "reason")


class AssertionsInvalid(Exception):
    """The message names the place in the document and says what belongs there."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """`name` is a tag, a digest or REST. What is None may be anything; `reason` is a part of the sentence."""

    name: str
    verdict: str | None
    rule: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        said = _show(self.verdict or "anything", self.rule)
        return f"{said}, because … {self.reason} …" if self.reason else said

    def is_met(self, word: str, rule: int | None, reason: str) -> bool:
        return self.verdict in (None, word) and self.rule in (None, rule) and self.reason in reason


@dataclass(frozen=True, slots=True)
class Case:
    """One test: at the instant `at` (Unix ms) the policy is asked about `images`; `protected` as in a repository."""

    name: str
    at: int
    images: tuple[Image, ...]
    protected: tuple[Pattern, ...]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of one file. Either `policy_file` says where the policy is, or `policy_text` is it."""

    policy_file: str
    policy_text: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one tag or image, beside what was expected; `reason` is the engine's sentence."""

    name: str
    expected: str
    actual: str
    reason: str
    is_met: bool


def parse_suite(text: str) -> Suite:
    """Raises AssertionsInvalid."""
    try:
        fields = decode(text.encode())
    except (JSONRefused, UnicodeEncodeError) as problem:
        raise AssertionsInvalid(str(problem)) from None
    _check_keys(fields, "the document", (*_CASE_KEYS, "description", "policy", "tests"), ("policy",))
    policy = fields["policy"]
    if not isinstance(policy, str | dict) or not policy:
        raise AssertionsInvalid("policy: it is the path of the policy's file, or the policy itself")
    if "tests" not in fields:
        cases = [_read_case(fields, "", "test 1")]
    else:
        _check_keys(fields, "the document", ("description", "policy", *_SHARED_KEYS, "tests"), ())
        shared = {key: fields[key] for key in _SHARED_KEYS if key in fields}
        cases = []
        for place, case in _list(fields["tests"], "tests"):
            _check_keys(case, place, _CASE_KEYS, ())
            cases.append(_read_case(shared | case, f"{place}.", f"test {len(cases) + 1}"))
    file, inline = (policy, "") if isinstance(policy, str) else ("", json.dumps(policy))
    return Suite(file, inline, tuple(cases))


def judge(case: Case, policy: Policy) -> list[Judged]:
    """What became of everything that the test speaks of, in the order of its expectations."""
    verdicts = select_expired(policy, case.images, case.at, protected=case.protected)
    by_name = {verdict.image.digest: [verdict] for verdict in verdicts}
    by_tag = {tag: verdict for verdict in verdicts for tag in verdict.image.tags}
    named = {expectation.name for expectation in case.expectations}
    judged = []
    for expectation in case.expectations:
        if expectation.name == REST:
            judged += [_judge(expectation, *fate) for fate in _list_rest(verdicts, named)]
        elif expectation.name in by_tag:
            judged.append(
                _judge(expectation, expectation.name, *_find_fate(by_tag[expectation.name], expectation.name))
            )
        else:
            (verdict,) = by_name[expectation.name]
            judged.append(_judge(expectation, expectation.name, *_find_fate(verdict)))
    return judged


def _judge(expectation: Expectation, name: str, word: str, rule: int | None, reason: str) -> Judged:
    is_met = expectation.is_met(word, rule, reason)
    return Judged(name, str(expectation), _show(word, rule), reason, is_met)


def _find_fate(verdict: Verdict, tag: str = "") -> tuple[str, int | None, str]:
    """The image's; with a tag of it, the tag's own when a rule about tags takes it."""
    for taken in verdict.expired_tags:
        if taken.name == tag:
            return UNTAGGED, taken.rule, taken.reason
    return verdict.outcome, verdict.rule, verdict.reason


def _list_rest(verdicts: Iterable[Verdict], named: set[str]) -> list[tuple[str, str, int | None, str]]:
    """Images that nothing names, and tags that nothing names and a rule about tags takes."""
    rest = []
    for verdict in verdicts:
        image = verdict.image
        taken = [tag.name for tag in verdict.expired_tags if tag.name not in named]
        rest += [(tag, *_find_fate(verdict, tag)) for tag in taken]
        if not taken and named.isdisjoint({image.digest, *image.tags}):
            rest.append((next(iter(image.tags), image.digest), *_find_fate(verdict)))
    return rest


def _show(word: str, rule: int | None) -> str:
    return word if rule is None else f"{word} by rule {rule}"


def _read_case(fields: Mapping[str, Any], place: str, name: str) -> Case:
    for key in ("images", "expect"):
        if key not in fields:
            raise AssertionsInvalid(f"{place}{key} is missing: a test has images, and what to expect of them")
    given = fields.get("name", name)
    if not isinstance(given, str) or not given:
        raise AssertionsInvalid(f"{place}name: it is text")
    now = _read_at(fields["at"], f"{place}at") if "at" in fields else None
    drafts = [_Draft(image, where, now) for where, image in _list(fields["images"], f"{place}images")]
    names = _name(drafts)
    images = tuple(draft.build(names) for draft in drafts)
    return Case(
        given,
        _SOMEDAY if now is None else now,
        images,
        _read_patterns(fields.get("protect", []), f"{place}protect"),
        _read_expectations(fields["expect"], place, names),
    )


class _Draft:
    """An image whose relations are not resolved yet."""

    def __init__(self, fields: Any, place: str, now: int | None) -> None:
        _check_keys(fields, place, _IMAGE_KEYS, ("pushed",))
        self._fields = fields
        self.place = place
        self._now = now
        self.pushed_at = self._instant(fields["pushed"], f"{place}.pushed")
        self.tags = self._read_tags(fields.get("tags", []))
        self.digest = fields.get("digest", next(iter(self.tags), None))
        if not isinstance(self.digest, str) or not self.digest:
            raise AssertionsInvalid(f"{place}: an image needs a tag, or a digest: any text that stands for it")
        if self.digest == REST:
            raise AssertionsInvalid(f"{place}.digest: {REST} stands for all images")

    def build(self, names: Mapping[str, str]) -> Image:
        fields, place = self._fields, self.place
        size = fields.get("size", 0)
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _LARGEST:
            raise AssertionsInvalid(f"{place}.size: it is a number of bytes, not {_quote(size)}")
        children = tuple(
            _resolve(child, where, names)
            for where, child in _list(fields.get("children", []), f"{place}.children", least=0)
        )
        subject = _resolve(fields["subject"], f"{place}.subject", names) if "subject" in fields else None
        return Image(
            digest=self.digest,
            media_type=OCI_INDEX if children else OCI_MANIFEST,
            pushed_at=self.pushed_at,
            tags=self.tags,
            pulls=self._read_pulls(fields.get("pulled", {})),
            size=size,
            children=children,
            subject=subject,
        )

    def _read_tags(self, value: Any) -> dict[str, int]:
        place = f"{self.place}.tags"
        if isinstance(value, dict):
            tags = {tag: self._instant(text, f"{place}.{tag}") for tag, text in value.items()}
        else:
            tags = {_text(tag, where): self.pushed_at for where, tag in _list(value, place, least=0)}
        for tag in tags:
            try:
                Tag.parse(tag)
            except TagInvalid as problem:
                raise AssertionsInvalid(f"{place}: {problem}, not {_quote(tag)}") from None
        return tags

    def _read_pulls(self, value: Any) -> dict[str, int]:
        place = f"{self.place}.pulled"
        if isinstance(value, dict):
            return {identity: self._instant(text, f"{place}.{identity}") for identity, text in value.items()}
        return {_SOMEONE: self._instant(value, place)}

    def _instant(self, value: Any, place: str) -> int:
        """An age counts back from the test's instant."""
        age = _AGE.fullmatch(value) if isinstance(value, str) else None
        if age:
            return max(0, (_SOMEDAY if self._now is None else self._now) - int(age[1]) * _UNITS[age[2]])
        found = _parse_instant(value)
        if found is None:
            raise AssertionsInvalid(
                f"{place}: it is an age such as 40d, 12h and 90m, or an instant such as 2027-01-31, not {_quote(value)}"
            )
        if self._now is None:
            raise AssertionsInvalid(f"{place}: with an instant the test needs one of its own: at")
        if found > self._now:
            raise AssertionsInvalid(f"{place}: {value} comes after the test's own instant")
        return found


def _name(drafts: Sequence[_Draft]) -> dict[str, str]:
    """The digest of each name: of digests, and of tags."""
    names: dict[str, str] = {}
    for draft in drafts:
        own = dict.fromkeys((draft.digest, *draft.tags))
        taken = [name for name in own if name in names]
        if taken:
            raise AssertionsInvalid(f"{draft.place}: another image has the name {_quote(taken[0])} already")
        names |= dict.fromkeys(own, draft.digest)
    return names


def _resolve(value: Any, place: str, names: Mapping[str, str]) -> str:
    name = _text(value, place)
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        meant = f": did you mean {near[0]}?" if near else ""
        raise AssertionsInvalid(f"{place}: no image has the tag or digest {_quote(name)}{meant}")
    return names[name]


def _read_patterns(value: Any, place: str) -> tuple[Pattern, ...]:
    try:
        return tuple(Pattern.parse(_text(text, where)) for where, text in _list(value, place, least=0))
    except PatternInvalid as problem:
        raise AssertionsInvalid(f"{place}: {problem}") from None


def _read_expectations(fields: Any, place: str, names: Mapping[str, str]) -> tuple[Expectation, ...]:
    if not isinstance(fields, dict) or not fields:
        raise AssertionsInvalid(f'{place}expect: it is an object such as {{"v1": "kept", "{REST}": "expired"}}')
    found = []
    for name, value in fields.items():
        where = f"{place}expect.{name}"
        if name != REST:
            _resolve(name, where, names)
        found.append(_read_expectation(name, value, where))
    return tuple(found)


def _read_expectation(name: str, value: Any, place: str) -> Expectation:
    if isinstance(value, str):
        value = {"verdict": value}
    if not isinstance(value, dict) or not value:
        raise AssertionsInvalid(f"{place}: it is one of {', '.join(WORDS)}, or an object with {_and(_EXPECTED_KEYS)}")
    _check_keys(value, place, _EXPECTED_KEYS, ())
    verdict, rule = value.get("verdict"), value.get("rule")
    if "verdict" in value and verdict not in WORDS:
        raise AssertionsInvalid(f"{place}: a verdict is one of {', '.join(WORDS)}, not {_quote(verdict)}")
    if "rule" in value and (isinstance(rule, bool) or not isinstance(rule, int)):
        raise AssertionsInvalid(f"{place}.rule: it is the rulePriority of the rule that decides, not {_quote(rule)}")
    return Expectation(name, verdict, rule, _text(value.get("reason", ""), f"{place}.reason"))


def _read_at(value: Any, place: str) -> int:
    found = _parse_instant(value)
    if found is None:
        raise AssertionsInvalid(f"{place}: it is an instant such as 2027-01-31, not {_quote(value)}")
    return found


def _parse_instant(value: Any) -> int | None:
    """A date is its beginning; without a zone it is UTC."""
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:  # 30 February
        return None
    zoned = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return max(0, round(zoned.timestamp() * 1000))


def _list(value: Any, place: str, least: int = 1) -> list[tuple[str, Any]]:
    """Each entry with its place."""
    if not isinstance(value, list) or len(value) < least:
        raise AssertionsInvalid(f"{place}: it is an array{' with at least one entry' * bool(least)}")
    return [(f"{place}[{position}]", entry) for position, entry in enumerate(value)]


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise AssertionsInvalid(f"{place}: it is text, not {_quote(value)}")
    return value


def _check_keys(fields: Any, place: str, allowed: Sequence[str], required: Iterable[str]) -> None:
    if not isinstance(fields, dict):
        raise AssertionsInvalid(f"{place}: it is an object with {_and(allowed)}")
    for name in fields:
        if name not in allowed:
            raise AssertionsInvalid(f"{place}: {_quote(name)} is no key here: there are {_and(allowed)}")
    for name in required:
        if name not in fields:
            raise AssertionsInvalid(f"{place}: {name} is missing")


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _quote(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:100] + "..."  # noqa: PLR2004 - what fits a line
