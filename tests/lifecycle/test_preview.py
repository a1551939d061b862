"""Preview equals run."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.cli.lifecycle_preview import _differ
from tests.lifecycle.notation import own_rule
from tests.lifecycle.stage import NAME, OPERATOR, Stage, hide, image, open_stage, policy_text, protect
from tests.scenarios.images import Content, make_blob, make_index

SOME_TAGS = {"tagStatus": "tagged", "tagPatternAnyList": ["*1", "*2"]}
RULES = st.lists(
    st.sampled_from(
        [
            "T0 v* C2",
            "T0 w* P3",
            "U0 P2",
            "ANY0 C3",
            own_rule(0, {"tagStatus": "any", "notPulledForDays": 3}),
            own_rule(0, {"tagStatus": "any", "repositorySizeMoreThan": 3_000}),
            own_rule(0, {"tagStatus": "any", "newestImages": 1}, keep=True),
            own_rule(0, SOME_TAGS | {"tagCountMoreThan": 2}, expireTags=True),
        ]
    ),
    min_size=1,
    max_size=3,
    unique_by=str,
)  # fmt: skip


@st.composite
def pushes(draw: st.DrawFn) -> list[tuple[Content, float, list[str]]]:
    """Images that share layers, indexes of them, and referrers, each with its age in days and its tags."""
    found: list[tuple[Content, float, list[str]]] = []
    layers = [make_blob(letter * 1_000) for letter in "xyz"]
    for number in range(draw(st.integers(0, 8))):
        earlier = [content for content, _, _ in found]
        kind = draw(st.sampled_from(["image", "index", "referrer"])) if earlier else "image"
        if kind == "index":
            content = make_index(draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True)), note=number)
        else:
            subject = draw(st.sampled_from(earlier)) if kind == "referrer" else None
            own = draw(st.lists(st.sampled_from(layers), max_size=2, unique=True))
            content = image(str(number), *own, subject=subject)
        names = draw(st.lists(st.sampled_from(["v1", "v2", "v3", "w1", "w2"]), max_size=2, unique=True))
        found.append((content, draw(st.sampled_from([0.01, 1, 2.5, 4, 9])), names))
    return found


def number_rules(rules: list[dict[str, Any] | str]) -> list[dict[str, Any] | str]:
    """`any` comes last, as ECR wants it."""
    ordered = sorted(rules, key=lambda rule: str(rule).startswith("ANY"))
    return [
        rule.replace("0", str(place), 1) if isinstance(rule, str) else rule | {"rulePriority": place}
        for place, rule in enumerate(ordered, 1)
    ]


@settings(deadline=None, max_examples=40)
@given(RULES, pushes(), st.sampled_from(["", "v1", "w*,v3"]))
def test_preview_equals_run(
    rules: list[dict[str, Any] | str], images: list[tuple[Content, float, list[str]]], protected: str
) -> None:
    """What the preview says goes, goes, with the reasons and the bytes that it says, and nothing else does."""

    async def work(folder: str) -> None:
        async with open_stage(Path(folder)) as stage:
            for content, days, names in images:
                await stage.push(content, days, *names)
            await stage.database.write(lambda tx: protect(tx, protected))
            await stage.set_policy(*number_rules(rules))
            before, names = await stage.visible()
            preview = await stage.policies.preview(NAME)
            run = await stage.runs.run(NAME, OPERATOR, stage.advance)
            expected = [(v.image.digest, v.rule, v.reason, preview.freed[v.image.digest]) for v in preview.expired]
            alone = [(v.image.digest, tag.name, tag.reason) for v in preview.verdicts for tag in v.expired_tags]
            assert (run is None) == preview.is_idle == (not expected and not alone)
            steps = [one.step for one in (await stage.runs.show(run.id))[1]] if run else []
            assert [(s.digest, s.rule, s.reason, s.size) for s in steps if s.takes_image] == expected
            assert [(s.digest, *s.tags, s.reason) for s in steps if not s.takes_image] == alone
            gone = {digest for digest, *_ in expected}
            gone_tags = {tag for v in preview.expired for tag in v.image.tags} | {tag for _, tag, _ in alone}
            there, left = await stage.visible()
            assert set(there) == set(before) - gone
            assert set(left) == set(names) - gone_tags
            if run:
                assert (run.tally.done, run.tally.bytes) == (run.tally.total, preview.freed_bytes)
                await stage.runs.undo(run.id, OPERATOR, stage.advance)
                assert await stage.visible() == (before, names)

    with TemporaryDirectory() as folder:
        asyncio.run(work(folder))


@pytest.mark.anyio
async def test_difference_of_previews_beside_others(stage: Stage) -> None:
    """What was pushed or deleted between the two looks is in one of them only, and is no difference."""
    stays, goes, comes = image("stays"), image("goes"), image("comes")
    await stage.push(stays, 9, "v1")
    await stage.push(goes, 9, "v2")
    stored = await stage.policies.preview(NAME, text=policy_text("ANY1 P3"))
    await stage.push(comes, 9, "v3")
    await stage.database.write(lambda tx: hide(tx, goes))
    new = await stage.policies.preview(NAME, text=policy_text("ANY1 P400"))
    assert [(word, fate.image.digest) for word, fate in _differ(stored, new)] == [("expired", str(stays.digest))]
