"""`entrepot serve`: the server, and what it says when it starts."""

import sys
from functools import partial

import structlog
import typer

from registry import logs
from registry.app import create_app
from registry.cli.banner import make_banner, own_url
from registry.cli.invocation import Invocation, Refused
from registry.cli.opening import explained, is_guarded, refuse_other_user, wait_reachable
from registry.cli.options import ConfigFile, Host, Port, TlsCert, TlsKey, Workers
from registry.cli.places import show_blobs, show_database
from registry.cli.settings import load_config
from registry.cli.version import find_version
from registry.config import Config
from registry.server import CannotServe, open_certificate, refuse_exposure
from registry.server import serve as run_server

app = typer.Typer(add_completion=False)


@app.command()
def serve(  # noqa: PLR0913 - each is a flag
    ctx: typer.Context,
    *,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    config_file: ConfigFile = None,
) -> None:
    """Run the registry until SIGTERM or Ctrl+C.

    Everything lives in ./data, or where ENTREPOT_DATA says; with
    ENTREPOT_DATABASE and ENTREPOT_STORAGE it is kept by a PostgreSQL and an S3
    server, and several servers serve it. Until somebody can log in (entrepot
    user add) or ENTREPOT_ANONYMOUS says what strangers may do, it serves this
    machine only.

    Examples:
      entrepot serve
      entrepot serve --port 5001
      ENTREPOT_ANONYMOUS=pull entrepot serve --host 0.0.0.0
      entrepot serve --tls-cert fullchain.pem --tls-key privkey.pem
      entrepot serve --config /etc/entrepot.toml
    """
    flags = {"host": host, "port": port, "workers": workers, "tls_cert": tls_cert, "tls_key": tls_key}
    config, _ = load_config(config_file, flags)
    invocation = ctx.ensure_object(Invocation)
    try:
        request_log = logs.configure(config.log_format)
        refuse_other_user(config, invocation)
        wait_reachable(config)
        # Before a directory is made for nothing.
        is_known = is_guarded(config, invocation)
        refuse_exposure(config, is_guarded=is_known)
        certificate = open_certificate(config)
        with explained(config, invocation):
            app = create_app(config, request_log=request_log)
            run_server(app, config, partial(announce, config, is_guarded=is_known), certificate)
    except CannotServe as problem:
        raise Refused(str(problem)) from None


def announce(config: Config, host: str, port: int, *, is_guarded: bool) -> None:
    """Say that requests may come: in words to a person, in one line of the log elsewhere."""
    if config.log_format != "json" and sys.stderr.isatty():
        is_known = is_guarded or bool(config.admin_user)  # who was made when it started
        typer.echo(make_banner(config, host, port, find_version(), is_guarded=is_known), err=True)
    else:
        structlog.get_logger().info(
            "listening",
            url=own_url(config, host, port),
            host=host,
            port=port,
            data=str(config.data.absolute()),
            database=show_database(config),
            blobs=show_blobs(config),
            version=find_version(),
        )
