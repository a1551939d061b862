"""Every family of clients behind one face: log in and out, push and pull, and say why it could not."""

from abc import ABC, abstractmethod
from pathlib import Path

from .accounts import Login
from .engines import Containerd, DockerEngine
from .images import Image, Layout
from .podman import Podman
from .suites import Suite

Command = list[str | Path]


class Client(ABC):
    """A command line with credentials of its own and images in an OCI layout, each under its tag there."""

    checks_login = True  # the registry is asked at login, and not at the first push
    environment_name = "DOCKER_CONFIG"
    credentials = ""

    def __init__(self, suite: Suite, address: str, images: dict[str, Image]) -> None:
        self.suite = suite
        self.address = address
        self.folder = suite.folder("client")
        self.settings = {self.environment_name: str(self.folder / self.credentials)}
        self.layout = Layout(self.folder / "layout")
        for name, image in images.items():
            self.layout.tag(name, self.layout.add_image(image), image_name=f"source.example/{name}:1")

    def reference(self, repository: str, tag: str) -> str:
        return f"{self.address}/{repository}:{tag}"

    def log_in(self, login: Login) -> None:
        self.suite.run(*self._login(login.name), stdin=login.password, **self.settings)

    def refuse_login(self, login: Login) -> str:
        return self.suite.refuse(*self._login(login.name), stdin=login.password, **self.settings)

    def log_out(self) -> None:
        self.suite.run(*self._logout(), **self.settings)

    def push(self, image: str, repository: str, tag: str) -> None:
        self.suite.run(*self._push(image, self.reference(repository, tag)), **self.settings)

    def refuse_push(self, image: str, repository: str, tag: str) -> str:
        return self.suite.refuse(*self._push(image, self.reference(repository, tag)), **self.settings)

    def pull(self, repository: str, tag: str) -> None:
        self.suite.run(*self._pull(self.reference(repository, tag)), **self.settings)

    def refuse_pull(self, repository: str, tag: str) -> str:
        return self.suite.refuse(*self._pull(self.reference(repository, tag)), **self.settings)

    def copy(self, image: str, source: str, target: str, tag: str) -> None:
        """Bring an image that was pushed to one repository to another one, by mounts."""
        self.suite.run(*self._copy(image, self.reference(source, tag), self.reference(target, tag)), **self.settings)

    def _copy(self, image: str, source: str, target: str) -> Command:  # noqa: ARG002 - the engines push again
        return self._push(image, target)

    def new_folder(self) -> Path:
        return self.suite.folder("pulled") / "layout"

    @abstractmethod
    def _login(self, name: str) -> Command: ...

    @abstractmethod
    def _logout(self) -> Command: ...

    @abstractmethod
    def _push(self, image: str, reference: str) -> Command: ...

    @abstractmethod
    def _pull(self, reference: str) -> Command: ...


class Docker(Client):
    def __init__(self, engine: DockerEngine, address: str, images: dict[str, Image]) -> None:
        super().__init__(engine.suite, address, images)
        self._engine = engine
        self._archives = [
            image.write_archive(engine.folder / f"{name}.tar", f"source.example/{name}:1")
            for name, image in images.items()
        ]
        self._load()

    def pull(self, repository: str, tag: str) -> None:
        self._forget_all()
        super().pull(repository, tag)
        self._load()

    def _forget_all(self) -> None:
        """Have nothing, so that a pull fetches everything."""
        self._engine.forget(*set(self._engine.run("image", "ls", "--quiet").split()))

    def _load(self) -> None:
        for archive in self._archives:
            self._engine.run("load", "--input", archive)

    def _copy(self, image: str, source: str, target: str) -> Command:
        self._forget_all()  # the containerd store learns from a pull, not from a push, where a layer can be mounted
        self.suite.run(*self._pull(source), **self.settings)
        self._load()
        return self._push(image, target)

    def _login(self, name: str) -> Command:
        return self._engine.command("login", "--username", name, "--password-stdin", self.address)

    def _logout(self) -> Command:
        return self._engine.command("logout", self.address)

    def _push(self, image: str, reference: str) -> Command:
        self._engine.run("tag", f"source.example/{image}:1", reference)
        return self._engine.command("push", reference)

    def _pull(self, reference: str) -> Command:
        return self._engine.command("pull", reference)


class PodmanClient(Client):
    environment_name = "REGISTRY_AUTH_FILE"
    credentials = "auth.json"

    def __init__(self, suite: Suite, address: str, images: dict[str, Image]) -> None:
        super().__init__(suite, address, images)
        self._podman = Podman(suite)
        self.settings |= self._podman.settings
        self._load()

    def pull(self, repository: str, tag: str) -> None:
        self._podman.forget()
        super().pull(repository, tag)
        self._load()

    def _load(self) -> None:
        for name in ("one", "two"):
            self._podman.take(self.layout.folder, name, f"source.example/{name}:1")

    def _login(self, name: str) -> Command:
        options = ("--tls-verify=false", "--username", name, "--password-stdin")
        return self._podman.command("login", *options, self.address)

    def _logout(self) -> Command:
        return self._podman.command("logout", self.address)

    def _push(self, image: str, reference: str) -> Command:
        return self._podman.command("push", "--tls-verify=false", f"source.example/{image}:1", reference)

    def _pull(self, reference: str) -> Command:
        return self._podman.command("pull", "--tls-verify=false", reference)


class Skopeo(Client):
    environment_name = "REGISTRY_AUTH_FILE"
    credentials = "auth.json"

    def _login(self, name: str) -> Command:
        return ["skopeo", "login", "--tls-verify=false", "--username", name, "--password-stdin", self.address]

    def _logout(self) -> Command:
        return ["skopeo", "logout", self.address]

    def _push(self, image: str, reference: str) -> Command:
        return self._transfer(f"oci:{self.layout.folder}:{image}", f"docker://{reference}")

    def _pull(self, reference: str) -> Command:
        return self._transfer(f"docker://{reference}", f"oci:{self.new_folder()}:1")

    def _copy(self, image: str, source: str, target: str) -> Command:  # noqa: ARG002 - the one that is there
        return self._transfer(f"docker://{source}", f"docker://{target}")

    def _transfer(self, source: str, target: str) -> Command:
        return ["skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", source, target]


class Ctr(Client):
    """It has no login: each command is given the credentials, and only as an argument."""

    checks_login = False

    def __init__(self, daemon: Containerd, address: str, images: dict[str, Image]) -> None:
        super().__init__(daemon.suite, address, images)
        self._daemon = daemon
        self._user: list[str] = []
        self._load()

    def log_in(self, login: Login) -> None:
        self._user = ["--user", f"{login.name}:{login.password}"]

    def log_out(self) -> None:
        self._user = []

    def pull(self, repository: str, tag: str) -> None:
        self._forget_all()
        super().pull(repository, tag)
        self._load()

    def _forget_all(self) -> None:
        self._daemon.forget(*self._daemon.images("list", "--quiet").split())

    def _load(self) -> None:
        archive = self.layout.write_tar(self.folder / "import.tar")
        self._daemon.images("import", "--all-platforms", "--no-unpack", archive)

    def _copy(self, image: str, source: str, target: str) -> Command:
        self._forget_all()  # it learns from a pull where a layer can be mounted
        self.suite.run(*self._pull(source))
        self._load()
        return self._push(image, target, source=source)

    def _login(self, name: str) -> Command:
        raise NotImplementedError

    def _logout(self) -> Command:
        raise NotImplementedError

    def _push(self, image: str, reference: str, source: str = "") -> Command:
        self._daemon.images("tag", "--force", source or f"source.example/{image}:1", reference)
        return self._daemon.command("push", "--plain-http", *self._user, reference)

    def _pull(self, reference: str) -> Command:
        return self._daemon.command("pull", "--plain-http", *self._user, reference)


class Oras(Client):
    def _login(self, name: str) -> Command:
        return ["oras", "login", "--plain-http", "--username", name, "--password-stdin", self.address]

    def _logout(self) -> Command:
        return ["oras", "logout", self.address]

    def _push(self, image: str, reference: str) -> Command:
        return ["oras", "cp", "--from-oci-layout", "--to-plain-http", f"{self.layout.folder}:{image}", reference]

    def _pull(self, reference: str) -> Command:
        return ["oras", "cp", "--from-plain-http", "--to-oci-layout", reference, f"{self.new_folder()}:1"]

    def _copy(self, image: str, source: str, target: str) -> Command:  # noqa: ARG002 - the one that is there
        return ["oras", "cp", "--from-plain-http", "--to-plain-http", source, target]


class Crane(Client):
    checks_login = False

    def __init__(self, suite: Suite, address: str, images: dict[str, Image]) -> None:
        super().__init__(suite, address, images)
        self._layouts: dict[str, Path] = {}
        for name, image in images.items():
            layout = Layout(self.folder / name)
            layout.tag("1", layout.add_image(image))
            self._layouts[name] = layout.folder

    def _login(self, name: str) -> Command:
        return ["crane", "auth", "login", "--username", name, "--password-stdin", self.address]

    def _logout(self) -> Command:
        return ["crane", "auth", "logout", self.address]

    def _push(self, image: str, reference: str) -> Command:
        return ["crane", "push", self._layouts[image], reference]

    def _pull(self, reference: str) -> Command:
        return ["crane", "pull", "--format=oci", reference, self.new_folder()]

    def _copy(self, image: str, source: str, target: str) -> Command:  # noqa: ARG002 - the one that is there
        return ["crane", "copy", source, target]


class Regctl(Client):
    environment_name = "REGCTL_CONFIG"
    credentials = "regctl.json"

    def __init__(self, suite: Suite, address: str, images: dict[str, Image], tool: Path) -> None:
        super().__init__(suite, address, images)
        self._tool = tool
        suite.run(tool, "registry", "set", "--tls=disabled", address, **self.settings)

    def _login(self, name: str) -> Command:
        return [self._tool, "registry", "login", "--user", name, "--pass-stdin", self.address]

    def _logout(self) -> Command:
        return [self._tool, "registry", "logout", self.address]

    def _push(self, image: str, reference: str) -> Command:
        return [self._tool, "image", "copy", f"ocidir://{self.layout.folder}:{image}", reference]

    def _pull(self, reference: str) -> Command:
        return [self._tool, "image", "copy", reference, f"ocidir://{self.new_folder()}:1"]

    def _copy(self, image: str, source: str, target: str) -> Command:  # noqa: ARG002 - the one that is there
        return [self._tool, "image", "copy", source, target]
