"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The TOML file of settings (else: ENTREPOT_CONFIG).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document: sizes in bytes, instants in UTC.")]
Host = Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0 takes any free one.")
]
Workers = Annotated[int | None, typer.Option("--workers", help="Server processes; one, for now.")]
