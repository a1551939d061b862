"""The programs that take part: how each is set up, started and asked. All of them write an access log to a file."""

import base64
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.serving import send, settings

USER, PASSWORD = "benchmark", "of-a-registry-that-lives-for-seconds"
NGINX_WORKERS = 2


class NotThere(Exception):
    """A program is missing; the message says how to get it."""


@dataclass(frozen=True)
class Command:
    arguments: list[str]
    environment: Mapping[str, str]


class Program(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def is_registry(self) -> bool:
        """Whether it can be pushed to."""

    def version(self) -> str:
        """As RESULTS.md names it."""

    def make(self, folder: Path) -> None:
        """Set it up in a new folder, without content."""

    def command(self, folder: Path, port: int) -> Command: ...

    def authorize(self, port: int, repository: str) -> dict[str, str]:
        """The header that lets a request pull and push."""


@dataclass(frozen=True)
class Entrepot:
    """With one user, who may do everything in `benchmark/`; each folder is a copy of the template."""

    executable: Path
    workers: int
    template: Path

    is_registry = True

    @property
    def name(self) -> str:
        return "entrepot" if self.workers == 1 else f"entrepot, {self.workers} workers"

    def version(self) -> str:
        return f"{_ask([str(self.executable), '--version'])}, SQLite and files, for users who log in"

    def make(self, folder: Path) -> None:
        if not self.template.exists():
            for arguments in (["add", USER, "--password-stdin"], ["grant", USER, "benchmark/**", "pull,push"]):
                command = [str(self.executable), "user", *arguments]
                subprocess.run(
                    command, env=settings(self.template), input=PASSWORD.encode(), capture_output=True, check=True
                )
        shutil.copytree(self.template, folder)

    def command(self, folder: Path, port: int) -> Command:
        more = {"ENTREPOT_WORKERS": str(self.workers)} if self.workers > 1 else {}
        return Command([str(self.executable), "serve", "--port", str(port)], settings(folder, more))

    def authorize(self, port: int, repository: str) -> dict[str, str]:
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        path = f"/token?service={_ask_service(port)}&scope=repository:{repository}:pull,push"
        status, answer = send(port, "GET", path, headers={"Authorization": f"Basic {basic}"})
        if status != http.HTTPStatus.OK:
            raise SystemExit(f"no token was had: {status} {answer[:500]!r}")
        return {"Authorization": f"Bearer {json.loads(answer)['token']}"}


class _Open:
    """Serves everyone."""

    def authorize(self, _port: int, _repository: str) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class Distribution(_Open):
    """CNCF distribution of any version, on files."""

    name: str
    executable: Path

    is_registry = True

    def version(self) -> str:
        said = _ask([str(self.executable), "--version"]).partition(" ")[2]  # after its own path
        return f"{said}, files, blob descriptors cached in memory"

    def make(self, folder: Path) -> None:
        folder.mkdir()

    def command(self, folder: Path, port: int) -> Command:
        lines = (
            "version: 0.1",
            "log: {level: error, accesslog: {disabled: false}}",
            "storage:",
            "  cache: {blobdescriptor: inmemory}",  # as in the files that its packages and images bring
            f"  filesystem: {{rootdirectory: '{folder}'}}",
            "  delete: {enabled: true}",
            f"http: {{addr: '127.0.0.1:{port}'}}",
            "",
        )
        file = folder.with_suffix(".yml")
        file.write_text("\n".join(lines))
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
        return Command([str(self.executable), "serve", str(file)], kept | {"OTEL_TRACES_EXPORTER": "none"})


@dataclass(frozen=True)
class Nginx(_Open):
    """Static files at the paths that registries have."""

    executable: Path
    name: str = "nginx"

    is_registry = False

    def version(self) -> str:
        done = subprocess.run([str(self.executable), "-v"], capture_output=True, text=True, check=True)
        return f"{done.stderr.partition('/')[2].strip()}, {NGINX_WORKERS} workers, sendfile, open_file_cache"

    def make(self, folder: Path) -> None:
        (folder / "root").mkdir(parents=True)

    def command(self, folder: Path, port: int) -> Command:
        places = [f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
        lines = (
            "daemon off;",
            *(["user root;"] if os.geteuid() == 0 else []),
            f"worker_processes {NGINX_WORKERS};",
            f"pid {folder}/pid;",
            f"error_log {folder}/error.log;",
            "events { worker_connections 1024; }",
            "http {",
            *places,
            f"access_log {folder}/access.log combined;",
            "sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600s;",
            "open_file_cache max=1000 inactive=600s;",
            f"server {{ listen 127.0.0.1:{port}; root {folder}/root;",
            "location = /v2/ { default_type application/json; return 200 '{}'; } }",
            "}",
            "",
        )
        file = folder / "nginx.conf"
        file.write_text("\n".join(lines))
        return Command([str(self.executable), "-p", str(folder), "-c", str(file)], dict(os.environ))


@dataclass(frozen=True)
class Zot(_Open):
    """With `commit`, which syncs what was pushed: the other registries do so without being asked."""

    executable: Path
    name: str = "zot"

    is_registry = True

    def version(self) -> str:
        """It says its version in a line of its log, which is JSON."""
        said = json.loads(_ask([str(self.executable), "--version"]).splitlines()[-1])
        return f"{said['commit']}, {said['binary-type'] or 'minimal'}, commit: true"

    def make(self, folder: Path) -> None:
        folder.mkdir()

    def command(self, folder: Path, port: int) -> Command:
        file = folder.with_suffix(".json")
        described = {
            "distSpecVersion": "1.1.1",
            "storage": {"rootDirectory": str(folder), "commit": True, "dedupe": False, "gc": False},
            "http": {"address": "127.0.0.1", "port": str(port), "compat": ["docker2s2"]},  # docker's manifests
            "log": {"level": "info"},
        }
        file.write_text(json.dumps(described))
        return Command([str(self.executable), "serve", str(file)], dict(os.environ))


def _ask_service(port: int) -> str:
    """The token service, as the challenge names it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v2/")
    challenge = connection.getresponse().headers["WWW-Authenticate"]
    connection.close()
    return str(challenge.partition('service="')[2].partition('"')[0])


def find_programs(entrepot: Path, folder: Path) -> list[Program]:
    """Those that are there; `folder` is for what they need before they are set up. Raises NotThere."""
    found: list[Program] = [Entrepot(entrepot, 1, folder / "template")]
    if _serves_with_two_workers(entrepot, folder):
        found.append(Entrepot(entrepot, 2, folder / "template"))
    found.append(Nginx(_find("nginx", "apt-get install nginx, or .ci/install packages")))
    found.append(Distribution("docker-registry 2.8.2", _find("docker-registry", ".ci/install peers")))
    found.append(Distribution("distribution 3.1.2", _find_built("registry")))
    if zot := os.environ.get("ZOT"):
        found.append(Zot(_find(zot, "the variable ZOT names it")))
    return found


def _find(name: str, advice: str) -> Path:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if not found:
        raise NotThere(f"{name} is not there: {advice}")
    return Path(found).absolute()


def _find_built(name: str) -> Path:
    install = Path(__file__).parents[2] / ".ci" / "install"
    found = subprocess.run([str(install), "path", name], capture_output=True, text=True, check=False)
    if found.returncode:
        raise NotThere(found.stderr.strip())
    return Path(found.stdout.strip())


def _serves_with_two_workers(entrepot: Path, folder: Path) -> bool:
    environment = settings(folder / "workers", {"ENTREPOT_WORKERS": "2"})
    tried = subprocess.run([str(entrepot), "config", "show"], env=environment, capture_output=True, check=False)
    return tried.returncode == 0


def _ask(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).strip()
