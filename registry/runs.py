"""Runs of lifecycle policies: plan, store the plan, take its steps while they hold, give them back.

Any number may run at once, beside pushes: every step looks again, in the transaction that takes it.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from registry.errors import ManifestUnknown, NameUnknown
from registry.identity import Actor, Clock, Deed
from registry.lifecycle.preview import Preview
from registry.lifecycle.refusals import PolicyChanged, PolicyUnknown, RunEnded, RunUnknown
from registry.metadata import changes, policies, previews, repositories, runs, steps
from registry.metadata.database import Database, Transaction
from registry.metadata.previews import Plan, Terms
from registry.metadata.repositories import Repository
from registry.metadata.runs import Run, RunStep, Status, Step, StepOutcome
from registry.metadata.steps import Expected, Lost
from registry.oci.manifest import Kind
from registry.oci.names import RepositoryName

T = TypeVar("T")
Advance = Callable[[int, int], None]  # how many steps are behind it, and of how many

_BATCH = 20  # steps in one transaction: pushes wait for it
_STORED = 100  # steps that one transaction writes down
_MOST_DUE = 100_000  # in one round
_PAUSE = 3  # times as long as a transaction: a push has three of them, and each one waits for ours
_MOST_PAUSE = 1_000  # milliseconds
_LAST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Undone:
    """`would_repeat`: the repository still has the policy of the run, which may take the same again."""

    run: Run
    restored: list[Step]
    lost: list[Lost]
    would_repeat: bool


class Runs:
    """`is_strict`, `brake_percent` and `undelete_days` as in Policies; `may_lack` is what manifests may lack."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        is_strict: bool,
        brake_percent: int,
        undelete_days: int,
        may_lack: Collection[Kind] = (),
    ) -> None:
        self._database = database
        self._clock = clock
        self._terms = Terms(is_strict=is_strict, brake_percent=brake_percent, undelete_days=undelete_days)
        self._may_lack = may_lack

    async def due(self, repository: RepositoryName | None) -> Sequence[RepositoryName]:
        """The repositories whose policies may have something to do, or the one that is asked for, due or not.

        Raises NameUnknown, PolicyUnknown.
        """
        if repository is not None:
            await self._database.read(lambda tx: _get_policy(tx, repositories.get(tx, repository)))
            return [repository]
        now = self._clock()
        while await self._database.write(lambda tx: policies.transfer_changes(tx, now)):
            pass
        return await self._database.read(lambda tx: policies.list_due(tx, now, _MOST_DUE))

    async def plan(self, repository: RepositoryName) -> Preview:
        """What a run would do now, which changes nothing. Raises NameUnknown, PolicyUnknown, PolicyInvalid."""
        return (await self._plan(repository)).preview

    async def run(self, repository: RepositoryName, by: Actor, advance: Advance) -> Run | None:
        """Plan, store the plan and take its steps, unless the brake stops it; None where there is nothing to do.

        Raises NameUnknown, PolicyUnknown, PolicyInvalid.
        """
        plan = await self._plan(repository)
        if plan.preview.is_idle:
            await self._rest(plan, by)
            return None
        run, is_whole = await self._store(plan, by)
        if run.status is not Status.APPLYING or not is_whole:
            return run
        return await self._take(run, plan, by, advance)

    async def apply(self, run_id: int, by: Actor, advance: Advance) -> Run:
        """Take what a run that stopped, or was cut off, has left, of what the policy still takes.

        Raises RunUnknown, RunEnded, PolicyChanged, PolicyInvalid.
        """

        def look(tx: Transaction) -> tuple[Run, Plan]:
            run = _get_run(tx, run_id)
            _refuse_ended(run)
            repository = repositories.find(tx, RepositoryName(run.repository))
            if repository is None or repository.id != run.repository_id:
                raise RunEnded(f"the repository {run.repository} that run {run.id} was planned for is deleted")
            if policies.find_text(tx, run.repository_id) != run.policy:
                raise PolicyChanged(run.id, run.repository)
            return run, previews.make_plan(tx, repository, run.policy, self._clock(), self._terms)

        run, plan = await self._database.read(look)

        def begin(tx: Transaction) -> None:
            _refuse_ended(_get_run(tx, run_id))
            runs.set_applying(tx, run_id)

        await self._database.write(begin)
        return await self._take(run, plan, by, advance)

    async def list(self, repository: RepositoryName | None, before: int | None, limit: int) -> Sequence[Run]:
        """Those with ids below `before`, the latest first. Raises NameUnknown."""

        def work(tx: Transaction) -> list[Run]:
            start = _LAST if before is None else before
            if repository is None:
                return runs.list_all(tx, start, limit)
            return runs.list_of(tx, repositories.get(tx, repository).id, start, limit)

        return await self._database.read(work)

    async def show(self, run_id: int) -> tuple[Run, Sequence[RunStep]]:
        """Raises RunUnknown."""
        return await self._database.read(lambda tx: (_get_run(tx, run_id), runs.list_steps(tx, run_id, 0, _LAST)))

    async def undo(self, run_id: int, by: Actor, advance: Advance) -> Undone:
        """Give back what the run took, as far as it is still there. What is lost now can be tried again.

        A run is undone as soon as something is back. Raises RunUnknown, RunEnded, NameUnknown.
        """
        run = await self._database.write(lambda tx: _begin_undo(tx, run_id, _deed(run_id, by, self._clock())))
        restored: list[Step] = []
        lost: list[Lost] = []
        position, seen = _LAST, 0
        while batch := await self._list_done(run_id, position):
            start = self._clock()
            given = await asyncio.gather(*(self._give_back(run, step, by) for step in batch))
            for step, missing in zip(batch, given, strict=True):
                restored += [step] if _is_restored(step, missing) else []
                lost += missing
            position, seen = batch[-1].position, seen + len(batch)
            advance(seen, run.tally.done)
            await self._let_others_write(start)
        deed = _deed(run_id, by, self._clock())
        ended, has_policy = await self._database.write(lambda tx: _end_undo(tx, run, restored, deed))
        return Undone(ended, restored, lost, would_repeat=bool(restored) and has_policy)

    async def _plan(self, name: RepositoryName) -> Plan:
        def work(tx: Transaction) -> Plan:
            repository = repositories.get(tx, name)
            return previews.make_plan(tx, repository, _get_policy(tx, repository), self._clock(), self._terms)

        return await self._database.read(work)

    async def _rest(self, plan: Plan, by: Actor) -> None:
        """Until the policy can have something to do again. What an earlier run has left is obsolete."""

        def work(tx: Transaction) -> None:
            runs.supersede(tx, plan.repository_id, _LAST, Deed(by, self._clock()))
            policies.set_due(tx, plan.repository_id, plan.next_due, plan.sequence)

        await self._database.write(work)

    async def _store(self, plan: Plan, by: Actor) -> tuple[Run, bool]:
        """The run, and whether all its steps are there: another run may have taken its place meanwhile."""
        wanted = steps.list_steps(plan)
        preview = plan.preview
        if preview.brake.is_on:
            stopped = await self._database.read(lambda tx: _find_known(tx, plan, wanted))
            if stopped is not None:
                return stopped, True
        status = Status.STOPPED if preview.brake.is_on else Status.APPLYING
        deed = Deed(by, preview.at)

        def begin(tx: Transaction) -> int:
            run_id = runs.insert(tx, plan.repository_id, preview.text, preview.brake.images, status, deed)
            runs.supersede(tx, plan.repository_id, run_id, deed)
            _record_stop(tx, plan.repository_id, status, wanted, _deed(run_id, by, deed.at))
            return run_id

        run_id = await self._database.write(begin)
        is_whole = True
        for start in range(0, len(wanted), _STORED):

            def go_on(tx: Transaction, start: int = start) -> bool:
                if runs.get_status(tx, run_id) is not status:
                    return False
                runs.insert_steps(tx, run_id, wanted[start : start + _STORED])
                return True

            is_whole = await self._write(go_on)
            if not is_whole:
                break
        return await self._database.read(lambda tx: _get_run(tx, run_id)), is_whole

    async def _take(self, run: Run, plan: Plan, by: Actor, advance: Advance) -> Run:
        """The steps that are left, while nothing ends the run and the policy is the same."""
        expected = steps.expect(plan, run.planned_at)
        position, behind, total = 0, run.tally.total - run.tally.planned, run.tally.total
        advance(behind, total)
        while True:
            deed = _deed(run.id, by, self._clock())
            taken = await self._write(partial(_take_batch, run=run, expected=expected, after=position, deed=deed))
            if not taken:
                break
            position, behind = taken[-1], behind + len(taken)
            advance(behind, total)

        def end(tx: Transaction) -> Run:
            if taken is not None:  # nothing is left
                ended = _get_run(tx, run.id)
                if ended.status is Status.APPLYING:  # else it was undone or superseded meanwhile
                    deed = _deed(run.id, by, self._clock())
                    runs.set_status(tx, run.id, Status.APPLIED, deed)
                    counts = (ended.tally.images, ended.tally.tags)
                    _record(tx, run.repository_id, "lifecycle.apply", counts, deed)
                # What was planned to go and stays is not in `next_due`, and a pull, which keeps it, is no change.
                if not (ended.tally.changed or ended.tally.held):
                    policies.set_due(tx, plan.repository_id, plan.next_due, plan.sequence)
            return _get_run(tx, run.id)

        return await self._database.write(end)

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        start = self._clock()
        result = await self._database.write(work)
        await self._let_others_write(start)
        return result

    async def _let_others_write(self, start: int) -> None:
        """For longer than this has written since `start`: they would not get the lock from one who hurries."""
        self._database.checkpoint()
        await asyncio.sleep(min(_PAUSE * max(self._clock() - start, 1), _MOST_PAUSE) / 1_000)

    async def _list_done(self, run_id: int, before: int) -> Sequence[Step]:
        return await self._database.read(lambda tx: runs.list_done_backwards(tx, run_id, before, _BATCH))

    async def _give_back(self, run: Run, step: Step, by: Actor) -> Sequence[Lost]:
        """In a savepoint of its own: what is lost must not take the others with it."""

        def work(tx: Transaction) -> list[Lost]:
            deed = _deed(run.id, by, self._clock())
            lost = steps.give_back(tx, run.repository_id, step, deed, self._may_lack)
            if _is_restored(step, lost):
                runs.set_outcome(tx, run.id, step.position, StepOutcome.UNDONE, deed.at)
                runs.set_status(tx, run.id, Status.UNDONE, deed)
            return lost

        try:
            return await self._database.write(work)
        except ManifestUnknown as problem:
            return [Lost(step.digest, "", problem.text)]


def _take_batch(tx: Transaction, run: Run, expected: Expected, after: int, deed: Deed) -> list[int] | None:
    """The positions of the steps that it has decided; None when the run has ended."""
    if runs.get_status(tx, run.id) is not Status.APPLYING:
        return None
    if policies.find_text(tx, run.repository_id) != run.policy:  # or the repository is deleted
        runs.set_status(tx, run.id, Status.SUPERSEDED, deed)
        return None
    batch = runs.list_with(tx, run.id, StepOutcome.PLANNED, after, _BATCH)
    for step in batch:
        runs.set_outcome(tx, run.id, step.position, steps.take(tx, step, expected, deed), deed.at)
    return [step.position for step in batch]


def _begin_undo(tx: Transaction, run_id: int, deed: Deed) -> Run:
    run = _get_run(tx, run_id)
    if not run.tally.done:
        raise RunEnded(f"run {run_id} is {run.status}, and nothing that it took is left to be given back")
    if not repositories.is_visible(tx, run.repository_id):
        raise NameUnknown(run.repository)
    if run.status is Status.APPLYING:  # it must not take more meanwhile
        runs.set_status(tx, run_id, Status.UNDONE, deed)
    return run


def _end_undo(tx: Transaction, run: Run, restored: Sequence[Step], deed: Deed) -> tuple[Run, bool]:
    """The run, and whether the repository has its policy; `run` is as it was before. Without anything back it stays."""
    ended = _get_run(tx, run.id)
    if restored:
        _record(tx, run.repository_id, "lifecycle.undo", _count(restored), deed)
    elif run.status is Status.APPLYING and ended.status is Status.UNDONE and not ended.tally.undone:
        runs.set_applying(tx, run.id)
    return _get_run(tx, run.id), policies.find_text(tx, run.repository_id) == run.policy


def _find_known(tx: Transaction, plan: Plan, wanted: Sequence[Step]) -> Run | None:
    """A run that somebody lets go on already, or one that the brake has stopped and that would do the same.

    Another one would only have another number, or would stop what somebody has said is meant.
    """
    stopped = runs.find_open(tx, plan.repository_id)
    if stopped is None or stopped.policy != plan.preview.text:
        return None
    if stopped.status is Status.APPLYING:
        return stopped
    if stopped.tally.total != len(wanted):
        return None
    stored = runs.list_steps(tx, stopped.id, 0, _LAST)
    is_same = all(_essence(one.step) == _essence(other) for one, other in zip(stored, wanted, strict=True))
    return stopped if is_same else None


def _essence(step: Step) -> tuple[object, ...]:
    return step.position, step.manifest_id, dict(step.tags), step.takes_image, step.rule


def _is_restored(step: Step, lost: Sequence[Lost]) -> bool:
    """An image is back also when a tag of it points elsewhere by now."""
    return not lost or (step.takes_image and all(one.tag for one in lost))


def _deed(run_id: int, by: Actor, now: int) -> Deed:
    """The audit log says of every change which run made it."""
    return Deed(Actor(by.name, by.address, f"run {run_id}"), now)


def _count(found: Sequence[Step]) -> tuple[int, int]:
    """How many take an image, and how many a tag alone."""
    images = sum(step.takes_image for step in found)
    return images, len(found) - images


def _record_stop(tx: Transaction, repository_id: int, status: Status, wanted: Sequence[Step], deed: Deed) -> None:
    if status is Status.STOPPED:
        _record(tx, repository_id, "lifecycle.stop", _count(wanted), deed)


def _record(tx: Transaction, repository_id: int, action: str, counts: tuple[int, int], deed: Deed) -> None:
    """The whole run in the audit log, beside the lines of its images; `counts` as `_count` returns them."""
    found = [(number, noun) for number, noun in zip(counts, ("image", "tag"), strict=True) if number or noun == "image"]
    shown = " and ".join(f"{number} {noun}" if number == 1 else f"{number} {noun}s" for number, noun in found)
    changes.append(tx, deed, action, repository_id, detail=f"{deed.actor.request_id}: {shown}")


def _refuse_ended(run: Run) -> None:
    if run.status not in {Status.STOPPED, Status.APPLYING}:
        raise RunEnded(
            f"run {run.id} is {run.status}: `entrepot lifecycle run --repository {run.repository}` makes a new plan"
        )


def _get_run(tx: Transaction, run_id: int) -> Run:
    run = runs.find(tx, run_id)
    if run is None:
        raise RunUnknown(run_id)
    return run


def _get_policy(tx: Transaction, repository: Repository) -> str:
    text = policies.find_text(tx, repository.id)
    if text is None:
        raise PolicyUnknown(repository.name.value)
    return text
