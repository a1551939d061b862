"""How verdicts and runs are told: in rows, sentences and documents, and while they are on their way."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import Progress

from registry.cli.lifecycle_files import has_transitions
from registry.cli.lifecycle_hints import tell_idle_rules
from registry.cli.output import exact_instant, make_console, print_hint, show_count, show_size
from registry.lifecycle.assertions import UNTAGGED
from registry.lifecycle.images import Image
from registry.lifecycle.policy import parse_policy
from registry.lifecycle.preview import Preview
from registry.lifecycle.verdicts import Outcome, Verdict
from registry.metadata.runs import Run, RunStep, Status, StepOutcome

_SHORT = 19  # of a digest: sha256, the colon and twelve digits
_MOST_TAGS = 3  # of one image in a row
_KEPT = {
    StepOutcome.HELD: "kept: protected, or an index or subject needs it, or the policy takes it no more",
    StepOutcome.CHANGED: "kept: changed since the plan",
}
_DAY, _HOUR, _MINUTE = 86_400_000, 3_600_000, 60_000  # milliseconds


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of an image, or of one `tag` of it; `age` in milliseconds, `freed` in bytes."""

    image: Image
    tag: str
    word: str
    rule: int | None
    reason: str
    age: int
    freed: int
    verdict: Verdict

    @property
    def key(self) -> tuple[str, str]:
        return self.image.digest, self.tag

    @property
    def goes(self) -> bool:
        return self.word in (Outcome.EXPIRED, UNTAGGED)

    @property
    def shown(self) -> str:
        return self.tag or show_image(self.image.digest, list(self.image.tags))


def list_fates(preview: Preview, *, with_all_tags: bool = False) -> list[Fate]:
    """In the order of the verdicts; an image's tags follow it: those that go alone, or all."""
    fates = []
    for verdict in preview.verdicts:
        image = verdict.image
        freed = preview.freed.get(image.digest, 0)
        age = preview.at - image.pushed_at
        fates.append(Fate(image, "", verdict.outcome, verdict.rule, verdict.reason, age, freed, verdict))
        taken = {tag.name: tag for tag in verdict.expired_tags}
        for tag, set_at in image.tags.items():
            if tag in taken:
                age = preview.at - set_at
                fates.append(Fate(image, tag, UNTAGGED, taken[tag].rule, taken[tag].reason, age, 0, verdict))
            elif with_all_tags:
                fates.append(Fate(image, tag, verdict.outcome, verdict.rule, verdict.reason, age, 0, verdict))
    return fates


def describe_fates(fates: Iterable[Fate]) -> list[dict[str, object]]:
    return [
        {
            "verdict": fate.word,
            "tag": fate.tag or None,
            "digest": fate.image.digest,
            "tags": sorted(fate.image.tags),
            "media_type": fate.image.media_type,
            "pushed_at": exact_instant(fate.image.pushed_at),
            "pulled_at": None if (pulled := fate.image.last_pulled_at()) is None else exact_instant(pulled),
            "rule": fate.rule,
            "reason": fate.reason,
            "held_by": fate.verdict.held_by,
            "follows": fate.verdict.follows,
            "freed_bytes": fate.freed,
        }
        for fate in fates
    ]


def show_image(digest: str, tags: Sequence[str]) -> str:
    """Its tags, or the beginning of its digest."""
    if not tags:
        return digest[:_SHORT]
    rest = len(tags) - _MOST_TAGS
    return ", ".join(sorted(tags)[:_MOST_TAGS]) + f" and {rest} more" * (rest > 0)


def show_age(age: int) -> str:
    """In the largest unit that fits."""
    for unit, letter in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if age >= unit:
            return f"{age // unit}{letter}"
    return "0m"


def show_removed(images: int, tags: int) -> str:
    """How many images, and how many tags whose images stay."""
    parts = [show_count(images, "image")] if images or not tags else []
    return " and ".join([*parts, *([show_count(tags, "tag")] if tags else [])])


def show_share(images: int, tags: int, there: int) -> str:
    """The same, of the images that are `there`."""
    alone = f" and {show_count(tags, 'tag')}" if tags else ""
    return f"{images} of {show_count(there, 'image')}{alone}"


def show_effect(preview: Preview) -> str:
    """In one sentence what a run would do at the preview's instant."""
    brake = preview.brake
    if preview.is_idle:
        return f"nothing would go of {show_count(brake.images, 'image')}"
    gone = show_share(brake.expired_images, brake.expired_tags, brake.images)
    window = f" {show_count(preview.undelete_days, 'day')} later" if preview.undelete_days else ""
    return f"{gone} would go, {show_size(preview.freed_bytes)} would become free{window}"


def tell_limits(preview: Preview) -> None:
    """On standard error, what a run would not do."""
    if preview.brake.is_on:
        print_hint(
            f"That is more than {preview.brake.percent} %: a run would stop, and print the `entrepot lifecycle apply`"
            " that goes on"
        )
    if has_transitions(parse_policy(preview.text, is_strict=False)):
        print_hint("Transitions are shown, never applied: there is no archive to move to")
    tell_idle_rules(preview)


def show_run(run: Run) -> str:
    """In one sentence what a run has done, and what it has left."""
    tally = run.tally
    name = f"run {run.id}: {run.repository}"
    if run.status is Status.STOPPED:
        return f"{name}: stopped, it would remove {show_share(tally.all_images, tally.all_tags, run.images)}"
    done = f"{show_removed(tally.images, tally.tags)} removed, {show_size(tally.bytes)} to become free"
    parts = ["superseded by a later run, or by another policy"] if run.status is Status.SUPERSEDED else []
    if tally.undone:
        parts.append(f"{show_removed(tally.undone_images, tally.undone_tags)} restored")
        if tally.done:
            parts.append(f"{show_removed(tally.images, tally.tags)} not restored")
    else:
        parts.append(done)
    if tally.changed:
        parts.append(f"{tally.changed} kept, because {'it' if tally.changed == 1 else 'they'} changed since the plan")
    if tally.held:
        they, them = ("it is", "it") if tally.held == 1 else ("they are", "them")
        parts.append(f"{tally.held} kept, because {they} protected or needed, or the policy takes {them} no more")
    if tally.planned:
        parts.append(f"{tally.planned} not taken")
    return f"{name}: {'; '.join(parts)}"


def show_outcome(step: RunStep) -> str:
    """Why it was taken, or why not."""
    return _KEPT.get(step.outcome, step.step.reason)


def show_part(run: Run, done: int, undone: int, planned: int) -> str:
    """What a run did of what it planned, of images or of tags: removed, or restored where it is undone."""
    if run.status is Status.UNDONE and done + undone:
        return f"{undone} of {done + undone} restored" if done else f"{undone} restored"
    return str(done) if run.status in {Status.APPLIED, Status.UNDONE} or done == planned else f"{done} of {planned}"


def describe_run(run: Run) -> dict[str, object]:
    tally = run.tally
    return {
        "run": run.id,
        "repository": run.repository,
        "status": run.status,
        "planned_at": exact_instant(run.planned_at),
        "planned_by": run.planned_by,
        "ended_at": None if run.ended_at is None else exact_instant(run.ended_at),
        "ended_by": run.ended_by or None,
        "images": run.images,
        "removed_images": tally.images,
        "removed_tags": tally.tags,
        "freed_bytes": tally.bytes,
        "planned_images": tally.all_images,
        "planned_tags": tally.all_tags,
        "restored_images": tally.undone_images,
        "restored_tags": tally.undone_tags,
        "changed": tally.changed,
        "held": tally.held,
        "not_taken": tally.planned,
        "undone": tally.undone,
    }


@contextmanager
def progressing() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """On a terminal, bars on standard error: each call with a text begins one, and returns what moves it."""
    console = make_console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def watch(text: str) -> Callable[[int, int], None]:
            task = progress.add_task(text, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield watch
