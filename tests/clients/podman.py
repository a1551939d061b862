"""podman with an image store of its own, of either generation."""

from pathlib import Path

from .suites import Suite

STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/root"
runroot = "{folder}/run"
[storage.options.pull_options]
enable_partial_images = "true"
"""


class Podman:
    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._folder = suite.folder("podman")
        configuration = self._folder / "storage.conf"
        configuration.write_text(STORAGE.format(folder=self._folder))
        self.settings = {"CONTAINERS_STORAGE_CONF": str(configuration)}

    def command(self, *arguments: str | Path) -> list[str | Path]:
        return ["podman", "--cgroup-manager=cgroupfs", *arguments]

    def run(self, *arguments: str | Path) -> str:
        return self._suite.run(*self.command(*arguments), **self.settings)

    def refuse(self, *arguments: str | Path) -> str:
        return self._suite.refuse(*self.command(*arguments), **self.settings)

    def take(self, layout: Path, tag: str, reference: str) -> None:
        """Bring an image of an OCI layout into the store under a name."""
        taken = self.run("pull", "--quiet", f"oci:{layout}:{tag}").strip()
        self.run("tag", taken, reference)

    def image_id(self, reference: str) -> str:
        return "sha256:" + self.run("image", "inspect", "--format", "{{.Id}}", reference).strip()

    def save(self, reference: str) -> Path:
        archive = self._folder / "saved.tar"
        archive.unlink(missing_ok=True)
        self.run("save", "--format", "docker-archive", "--output", archive, reference)
        return archive

    def forget(self) -> None:
        """Remove every image, so that the next pull has to fetch everything."""
        self.run("image", "rm", "--all", "--force")
