"""Rows of runs: the plans that policies made, step by step, and what became of them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.identity import Deed
from registry.metadata.database import Row, Transaction


class Status(StrEnum):
    """APPLYING also where that was cut off: it can be gone on with, or the next run takes its place."""

    APPLYING = "applying"
    STOPPED = "stopped"  # by the brake
    APPLIED = "applied"
    SUPERSEDED = "superseded"  # by a later run, or another policy
    UNDONE = "undone"


class StepOutcome(StrEnum):
    PLANNED = "planned"
    DONE = "done"
    CHANGED = "changed"  # it is another than it was when it was planned
    HELD = "held"  # something keeps it: an index, its subject, a setting, or the policy by now
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Tally:
    """How many steps have come to which outcome; of those done, how many took an image, and the bytes freed.

    `all_images` and `undone_images` are of all steps, and of those undone, those of an image.
    """

    planned: int = 0
    done: int = 0
    changed: int = 0
    held: int = 0
    undone: int = 0
    images: int = 0
    bytes: int = 0
    all_images: int = 0
    undone_images: int = 0

    @property
    def tags(self) -> int:
        """Of those done, how many took a tag alone."""
        return self.done - self.images

    @property
    def all_tags(self) -> int:
        return self.total - self.all_images

    @property
    def undone_tags(self) -> int:
        return self.undone - self.undone_images

    @property
    def total(self) -> int:
        return self.planned + self.done + self.changed + self.held + self.undone


@dataclass(frozen=True, slots=True)
class Run:
    """Instants are Unix milliseconds; `images` were in the repository when it was planned."""

    id: int
    repository_id: int
    repository: str
    policy: str
    planned_at: int
    planned_by: str
    images: int
    status: Status
    ended_at: int | None
    ended_by: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be taken: an image with all its `tags`, or one tag; by tag the id of its row.

    `size` is bytes that become free with it, after those before it.
    """

    position: int
    manifest_id: int
    digest: str
    tags: Mapping[str, int]
    takes_image: bool
    rule: int | None
    reason: str
    size: int


@dataclass(frozen=True, slots=True)
class RunStep:
    """A step and what became of it."""

    step: Step
    outcome: StepOutcome
    done_at: int | None


_COLUMNS = "id, repository_id, repository, policy, planned_at, planned_by, images, status, ended_at, ended_by"
_FIELDS = _COLUMNS.split(", ")
_STEP_COLUMNS = "position, manifest_id, digest, tags, takes_image, rule, reason, size, outcome, done_at"


def insert(tx: Transaction, repository_id: int, policy: str, images: int, status: Status, deed: Deed) -> int:
    """A run without steps. Returns its id."""
    row = tx.only(
        "INSERT INTO run (repository_id, repository, policy, planned_at, planned_by, images, status)"
        " SELECT id, name, :policy, :at, :by, :images, :status FROM repository WHERE id = :id RETURNING id",
        id=repository_id,
        policy=policy,
        at=deed.at,
        by=deed.actor.name,
        images=images,
        status=status.value,
    )
    return int(row[0])


def supersede(tx: Transaction, repository_id: int, run_id: int, deed: Deed) -> None:
    """End all runs of the repository with ids below `run_id` that have not ended."""
    tx.run(
        "UPDATE run SET status = 'superseded', ended_at = :at, ended_by = :by"
        " WHERE repository_id = :id AND id < :run_id AND status IN ('applying', 'stopped')",
        id=repository_id,
        run_id=run_id,
        at=deed.at,
        by=deed.actor.name,
    )


def insert_steps(tx: Transaction, run_id: int, steps: Iterable[Step]) -> None:
    for step in steps:
        tx.run(
            "INSERT INTO run_step (run_id, position, manifest_id, digest, tags, takes_image, rule, reason, size)"
            " VALUES (:run_id, :position, :manifest_id, :digest, :tags, :takes_image, :rule, :reason, :size)",
            run_id=run_id,
            position=step.position,
            manifest_id=step.manifest_id,
            digest=step.digest,
            tags=json.dumps(dict(step.tags)),
            takes_image=int(step.takes_image),
            rule=step.rule,
            reason=step.reason,
            size=step.size,
        )


def find(tx: Transaction, run_id: int) -> Run | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM run WHERE id = :id", id=run_id)
    return _run(tx, row) if row else None


def find_open(tx: Transaction, repository_id: int) -> Run | None:
    """The repository's last run, if the brake has stopped it or it is applied now, or was cut off."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM run WHERE repository_id = :id ORDER BY id DESC LIMIT 1",
        id=repository_id,
    )
    return _run(tx, row) if row and row[7] in {Status.STOPPED, Status.APPLYING} else None


def get_status(tx: Transaction, run_id: int) -> Status:
    return Status(tx.only("SELECT status FROM run WHERE id = :id", id=run_id)[0])


def set_status(tx: Transaction, run_id: int, status: Status, deed: Deed) -> None:
    """With who brought it there, and when."""
    tx.run(
        "UPDATE run SET status = :status, ended_at = :at, ended_by = :by WHERE id = :id",
        id=run_id,
        status=status.value,
        at=deed.at,
        by=deed.actor.name,
    )


def set_applying(tx: Transaction, run_id: int) -> None:
    tx.run("UPDATE run SET status = 'applying', ended_at = NULL, ended_by = '' WHERE id = :id", id=run_id)


def list_all(tx: Transaction, before: int, limit: int) -> list[Run]:
    """Those with ids below `before`, the latest first."""
    rows = tx.run(
        f"SELECT {_COLUMNS} FROM run WHERE id < :before ORDER BY id DESC LIMIT :limit", before=before, limit=limit
    )
    return [_run(tx, row) for row in rows]


def list_of(tx: Transaction, repository_id: int, before: int, limit: int) -> list[Run]:
    """As `list_all`, of one repository."""
    rows = tx.run(
        f"SELECT {_COLUMNS} FROM run WHERE repository_id = :id AND id < :before ORDER BY id DESC LIMIT :limit",
        id=repository_id,
        before=before,
        limit=limit,
    )
    return [_run(tx, row) for row in rows]


def list_steps(tx: Transaction, run_id: int, after: int, limit: int) -> list[RunStep]:
    """In their order, those after a position."""
    rows = tx.run(
        f"SELECT {_STEP_COLUMNS} FROM run_step WHERE run_id = :id AND position > :after ORDER BY position LIMIT :limit",
        id=run_id,
        after=after,
        limit=limit,
    )
    return [_step(row) for row in rows]


def list_with(tx: Transaction, run_id: int, outcome: StepOutcome, after: int, limit: int) -> list[Step]:
    """As `list_steps`, those with an outcome."""
    rows = tx.run(
        f"SELECT {_STEP_COLUMNS} FROM run_step WHERE run_id = :id AND position > :after AND outcome = :outcome"
        " ORDER BY position LIMIT :limit",
        id=run_id,
        after=after,
        outcome=outcome.value,
        limit=limit,
    )
    return [_step(row).step for row in rows]


def list_done_backwards(tx: Transaction, run_id: int, before: int, limit: int) -> list[Step]:
    """Those that were done, from the last to the first, before a position."""
    rows = tx.run(
        f"SELECT {_STEP_COLUMNS} FROM run_step WHERE run_id = :id AND position < :before AND outcome = 'done'"
        " ORDER BY position DESC LIMIT :limit",
        id=run_id,
        before=before,
        limit=limit,
    )
    return [_step(row).step for row in rows]


def set_outcome(tx: Transaction, run_id: int, position: int, outcome: StepOutcome, at: int) -> None:
    tx.run(
        "UPDATE run_step SET outcome = :outcome, done_at = :at WHERE run_id = :id AND position = :position",
        id=run_id,
        position=position,
        outcome=outcome.value,
        at=at,
    )


def _tally(tx: Transaction, run_id: int) -> Tally:
    counts = dict.fromkeys(StepOutcome, 0)
    images = dict.fromkeys(StepOutcome, 0)
    freed = 0
    for outcome, takes_image, count, size in tx.run(
        "SELECT outcome, takes_image, count(*), sum(size) FROM run_step WHERE run_id = :id"
        " GROUP BY outcome, takes_image",
        id=run_id,
    ):
        counts[StepOutcome(outcome)] += count
        if takes_image:
            images[StepOutcome(outcome)] = count
            freed += size if outcome == StepOutcome.DONE else 0
    return Tally(
        **{outcome.value: count for outcome, count in counts.items()},
        images=images[StepOutcome.DONE],
        bytes=freed,
        all_images=sum(images.values()),
        undone_images=images[StepOutcome.UNDONE],
    )


def _run(tx: Transaction, row: Row) -> Run:
    return Run(**dict(zip(_FIELDS, row, strict=True)) | {"status": Status(row[7]), "tally": _tally(tx, row[0])})


def _step(row: Row) -> RunStep:
    step = Step(row[0], row[1], row[2], json.loads(row[3]), bool(row[4]), *row[5:8])
    return RunStep(step, StepOutcome(row[8]), row[9])
