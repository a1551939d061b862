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
TlsCert = Annotated[
    Path | None,
    typer.Option("--tls-cert", metavar="FILE", help="Serve HTTPS with this certificate and its issuers', in PEM."),
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, in PEM.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Server processes; one, for now.")]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Take the password from one line of standard input; else one is made up."),
]
RepositoryGlobOption = Annotated[
    list[str],
    typer.Option("--repository", metavar="GLOB", help="Which repositories: * is one part of a name, ** several."),
]
ActionsOption = Annotated[
    str, typer.Option("--actions", metavar="ACTIONS", help="Of pull, push, create, delete, admin; with commas.")
]
TagsOption = Annotated[
    str,
    typer.Option("--tags", metavar="GLOBS", help="The only tags that may be set and deleted, such as 'ci-*,nightly'."),
]
