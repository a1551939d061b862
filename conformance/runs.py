"""The runs of the conformance suite: of which specification, against a server on which database and store."""

from dataclasses import dataclass
from pathlib import Path

from tests.places import EMBEDDED, Place

# Everything the suite can be asked to test. It ignores names that it does not know, so options_off()
# reads back what it really did.
API_OPTIONS = (
    "PING", "PULL", "PUSH", "REFERRER",
    "BLOBS_ATOMIC", "BLOBS_DELETE", "BLOBS_DIGEST_HEADER", "BLOBS_MOUNT_ANONYMOUS", "BLOBS_UPLOAD_CANCEL",
    "MANIFESTS_ATOMIC", "MANIFESTS_DELETE", "MANIFESTS_DIGEST_HEADER", "MANIFESTS_TAG_PARAM",
    "TAGS_ATOMIC", "TAGS_DELETE", "TAGS_LIST",
)  # fmt: skip
DATA_OPTIONS = (
    "IMAGE", "INDEX", "INDEX_LIST", "ARTIFACT", "ARTIFACT_LIST", "SUBJECT", "SUBJECT_MISSING", "SUBJECT_LIST",
    "DATA_FIELD", "NONDISTRIBUTABLE", "CUSTOM_FIELDS", "NO_LAYERS", "EMPTY_BLOB", "SHA512",
)  # fmt: skip

USER, PASSWORD = "conformance", "of-a-registry-that-lives-for-seconds"
GRANT = ("conformance/**", "pull,push,delete")


@dataclass(frozen=True)
class Run:
    """`redirects`: clients are sent to the S3 server for blobs."""

    spec: str
    sparse: bool
    login: bool = False
    place: Place = EMBEDDED
    redirects: bool = False

    @property
    def name(self) -> str:
        where = "" if self.place == EMBEDDED else f"-{self.place}" + ("-redirects" if self.redirects else "")
        return self.spec + ("-login" if self.login else "-sparse" if self.sparse else "") + where

    def suite_settings(self, port: int, folder: Path) -> dict[str, str]:
        options = [f"OCI_API_{name}" for name in API_OPTIONS] + [f"OCI_DATA_{name}" for name in DATA_OPTIONS]
        return {
            "OCI_REGISTRY": f"127.0.0.1:{port}",
            "OCI_TLS": "disabled",
            "OCI_VERSION": self.spec,
            "OCI_RESULTS_DIR": str(folder),
            "OCI_LOG": "error",  # failures are taken from the report
            **dict.fromkeys(options, "true"),
            "OCI_DATA_SPARSE": "true" if self.sparse else "false",
            # The answer to a GET is the S3 server's then, which knows no such header.
            "OCI_API_BLOBS_DIGEST_HEADER": "false" if self.redirects else "true",
            # Without the cache each request is refused first, and sent again with a token for what the challenge names.
            **({"OCI_USERNAME": USER, "OCI_PASSWORD": PASSWORD, "OCI_CACHE_AUTH": "false"} if self.login else {}),
        }

    def server_settings(self, folder: Path) -> dict[str, str]:
        settings = self.place.environment(folder)
        if self.sparse:
            settings["ENTREPOT_SPARSE_MANIFESTS"] = "accept"
        if self.redirects:
            # Another name of the same machine: no client is sent to the registry's own, where its token would go along.
            settings["ENTREPOT_S3_PUBLIC_ENDPOINT"] = settings["ENTREPOT_S3_ENDPOINT"].replace("127.0.0.1", "localhost")
            settings["ENTREPOT_S3_REDIRECTS"] = "on"
        return settings


RUNS = (
    *(Run(spec, sparse) for spec in ("1.1", "dev") for sparse in (False, True)),
    *(Run(spec, sparse=True, login=True) for spec in ("1.1", "dev")),
    *(
        Run("dev", sparse=True, login=True, place=Place("postgresql", "s3"), redirects=redirects)
        for redirects in (False, True)
    ),
    Run("dev", sparse=True, place=Place("sqlite", "s3")),
    Run("dev", sparse=True, place=Place("postgresql", "files")),
)
