"""A container of the image, hardened as an operator would harden it, and what can be seen of it from outside."""

import json
from pathlib import Path
from typing import Any

from tests.clients.engines import DockerEngine
from tests.waiting import wait_until

IMAGE = "entrepot:test"
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
HEALTH = ("--health-interval=1s", "--health-retries=1")  # as the image does it, only sooner


class Container:
    def __init__(self, docker: DockerEngine, name: str, *options: str) -> None:
        self._docker = docker
        self.name = name
        docker.run("run", "--detach", f"--name={name}", *HARDENED, *HEALTH, *options, IMAGE)

    def state(self) -> Any:
        return json.loads(self._docker.run("inspect", "--format={{json .State}}", self.name))

    def wait_until_healthy(self) -> None:
        self.wait_until_it_is("healthy")

    def wait_until_it_is(self, health: str) -> None:
        wait_until(lambda: self._health() == health, f"Docker says that {self.name} is {health}", seconds=60)

    def _health(self) -> str:
        state = self.state()
        if not state["Running"]:
            raise AssertionError(f"{self.name} ended with {state['ExitCode']}:\n{self.log()}")
        return str(state["Health"]["Status"])

    def run(self, *command: str) -> str:
        return self._docker.run("exec", self.name, *command)

    def send(self, signal: str) -> None:
        self._docker.run("kill", f"--signal={signal}", self.name)

    def log(self) -> str:
        path = Path(self._docker.run("inspect", "--format={{.LogPath}}", self.name).strip())
        return "".join(json.loads(line)["log"] for line in path.read_text().splitlines())

    def stop(self) -> int:
        """Stop it as `docker stop` does: the image's signal, ten seconds, SIGKILL. Returns the exit status."""
        self._docker.run("stop", self.name)
        return int(self.state()["ExitCode"])

    def remove(self) -> None:
        self._docker.run("rm", "--force", self.name)

    @property
    def process(self) -> Path:
        """The server's folder in this system's /proc."""
        return Path("/proc", str(self.state()["Pid"]))

    def status(self) -> dict[str, str]:
        """What the kernel says of the server: identities, capabilities, privileges."""
        lines = (self.process / "status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
