"""`entrepot check`: do database and files agree?"""

from collections import Counter

import typer
from rich.progress import Progress

from registry.app import Registry
from registry.check import Finding
from registry.cli import opening
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import make_console, print_json, print_table

app = typer.Typer(add_completion=False)


@app.command()
def check(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """See whether database and files agree, and change nothing.

    Each blob that the database knows must be a file of its size. One that is
    missing or truncated is damage: exit status 1. Pushing the image again
    repairs it. Unknown files are named by no row: a push that was cut off left
    them, or one that runs now made them. They do no harm.

    Examples:
      entrepot check
      entrepot check --json | jq .damaged
    """
    blobs, findings = opening.read(ctx, config_file, _check)
    damaged = sum(finding.is_damage for finding in findings)
    if as_json:
        found = [{"problem": each.problem, "digest": each.digest or None, "key": each.key} for each in findings]
        print_json({"blobs": blobs, "damaged": damaged, "unknown": len(findings) - damaged, "findings": found})
    else:
        if findings:
            print_table(
                ("PROBLEM", "DIGEST", "KEY"), [(each.problem, each.digest or "-", each.key) for each in findings]
            )
        typer.echo(_sum_up(blobs, findings))
    if damaged:
        raise typer.Exit(1)


async def _check(registry: Registry) -> tuple[int, list[Finding]]:
    """How many blobs were looked at, and what is wrong."""
    console = make_console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Looking at blobs", total=await registry.check.count())
        findings = [finding async for finding in registry.check.run(lambda: progress.advance(task))]
        return int(progress.tasks[0].completed), findings


def _sum_up(blobs: int, findings: list[Finding]) -> str:
    counts = Counter(finding.problem for finding in findings)
    damage = ", ".join(f"{counts[problem]} {problem}" for problem in sorted(counts) if problem != "unknown")
    unknown = f"; {counts['unknown']} unknown files" if counts["unknown"] else ""
    return f"{blobs} blobs: {damage or 'all are there'}{unknown}"
