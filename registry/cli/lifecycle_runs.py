"""`entrepot lifecycle` apply, runs and undo: what policies removed, and what of it comes back."""

from collections.abc import Sequence
from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.lifecycle_words import (
    describe_run,
    progressing,
    show_image,
    show_outcome,
    show_part,
    show_removed,
    show_run,
)
from registry.cli.names import RepositoryOption
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import (
    exact_instant,
    print_hint,
    print_json,
    print_table,
    show_instant,
    show_size,
)
from registry.identity import Actor
from registry.metadata.runs import Run, RunStep, Status
from registry.oci.strict_json import decode
from registry.runs import Undone

_RunArgument = Annotated[int, typer.Argument(metavar="RUN", min=1, help="The run's number.")]


def apply(
    ctx: typer.Context,
    number: Annotated[int, typer.Argument(metavar="RUN", min=1, help="The number of the run that was stopped.")],
    config_file: ConfigFile = None,
) -> None:
    """Go on with a run that the brake has stopped, or that was cut off.

    It looks again: what is removed is what both the plan and the policy say now.
    With another policy since, it is refused, and the next run plans anew.

    Examples:
      entrepot lifecycle apply 7
    """

    async def work(registry: Registry, by: Actor) -> Run:
        with progressing() as watch:
            return await registry.runs.apply(number, by, watch("Removing images"))

    found = opening.change(ctx, config_file, work)
    typer.echo(show_run(found))
    if found.tally.planned:  # another plan or another policy has taken its place
        raise typer.Exit(1)


def runs(
    ctx: typer.Context,
    number: Annotated[int | None, typer.Argument(metavar="RUN", min=1, help="Show what this run did.")] = None,
    *,
    repository: RepositoryOption = None,
    limit: Annotated[int, typer.Option(min=1, help="List at most so many.")] = 100,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """List the runs, the latest first; or show one: who removed what, when, by which rule.

    A run is applied, stopped by the brake, superseded by a later one, undone, or
    applying: now, or until something cut it off. IMAGES and TAGS are what it
    removed, of how many where it has not finished, and what an undo restored; the
    tags are those whose images stay.

    Examples:
      entrepot lifecycle runs
      entrepot lifecycle runs 7
      entrepot lifecycle runs --repository acme/app --limit 1 --json
    """
    if number is not None:
        run, steps = opening.read(ctx, config_file, lambda registry: registry.runs.show(number))
        if as_json:
            print_json(_document(run, steps))
        else:
            _print_run(run, steps)
        return
    found = opening.read(ctx, config_file, lambda registry: registry.runs.list(repository, None, limit))
    if as_json:
        print_json({"runs": [describe_run(run) for run in found]})
        return
    rows = [
        (
            run.id,
            run.repository,
            show_instant(run.planned_at),
            run.planned_by,
            run.status,
            show_part(run, run.tally.images, run.tally.undone_images, run.tally.all_images),
            show_part(run, run.tally.tags, run.tally.undone_tags, run.tally.all_tags),
            show_size(run.tally.bytes),
        )
        for run in found
    ]
    columns = ("RUN", "REPOSITORY", "PLANNED AT", "PLANNED BY", "STATUS", "IMAGES", "TAGS", "FREED")
    print_table(columns, rows, numbers=("RUN", "IMAGES", "TAGS", "FREED"))


def undo(ctx: typer.Context, number: _RunArgument, config_file: ConfigFile = None) -> None:
    """Bring back what a run has removed, images without tags and all.

    It works while the undelete window lasts. A tag that points to something else
    by now stays as it is. Exit status 1 when something could not come back; where
    nothing could, the run is not undone.

    Examples:
      entrepot lifecycle undo 7
    """

    async def work(registry: Registry, by: Actor) -> Undone:
        with progressing() as watch:
            return await registry.runs.undo(number, by, watch("Bringing images back"))

    done = opening.change(ctx, config_file, work)
    for lost in done.lost:
        what = f"the tag {lost.tag}" if lost.tag else show_image(lost.digest, [])
        print_hint(f"{what} did not come back: {lost.reason}")
    if done.would_repeat:
        name = done.run.repository
        print_hint(
            f"{name} still has the policy that removed them: set another one (entrepot lifecycle set {name} FILE), or"
            f" the next run removes them again"
        )
    images = sum(step.takes_image for step in done.restored)
    back = f"{show_removed(images, len(done.restored) - images)} restored"
    outcome = back if done.restored else f"nothing restored, and the run stays {done.run.status}"
    typer.echo(f"run {done.run.id}: {done.run.repository}: {outcome}")
    if done.lost or not done.restored:
        raise typer.Exit(1)


def _print_run(run: Run, steps: Sequence[RunStep]) -> None:
    rows = [
        (
            each.outcome,
            show_image(each.step.digest, list(each.step.tags)),
            "image" if each.step.takes_image else "tag",
            each.step.rule or "-",
            show_size(each.step.size),
            "-" if each.done_at is None else show_instant(each.done_at),
            show_outcome(each),
        )
        for each in steps
    ]
    if rows:
        columns = ("OUTCOME", "IMAGE", "TAKES", "RULE", "FREED", "AT", "REASON")
        print_table(columns, rows, numbers=("RULE", "FREED"))
    ended = "" if run.ended_at is None else f" at {show_instant(run.ended_at)} by {run.ended_by}"
    typer.echo(
        f"run {run.id}: {run.repository}: planned at {show_instant(run.planned_at)} by {run.planned_by},"
        f" {run.status}{ended}"
    )
    typer.echo(show_run(run))
    if run.status is Status.STOPPED:
        print_hint(f"The brake has stopped it. If it is meant: entrepot lifecycle apply {run.id}")


def _document(run: Run, steps: Sequence[RunStep]) -> dict[str, object]:
    return describe_run(run) | {
        "policy": decode(run.policy.encode()),
        "steps": [
            {
                "outcome": each.outcome,
                "takes": "image" if each.step.takes_image else "tag",
                "digest": each.step.digest,
                "tags": sorted(each.step.tags),
                "rule": each.step.rule,
                "reason": each.step.reason,
                "freed_bytes": each.step.size,
                "at": None if each.done_at is None else exact_instant(each.done_at),
            }
            for each in steps
        ],
    }
