"""The S3 server of the compose file as a process of this machine: its command, its bucket, its secrets."""

import configparser
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from mypy_boto3_s3 import S3Client
from mypy_boto3_s3.type_defs import CompletedMultipartUploadTypeDef

from tests.servers.seaweed import _free_ports
from tests.waiting import wait_until

from .files import DEPLOY, compose
from .settings import of_compose

HOST = "127.0.0.1"
WEED = str(Path(sys.executable).with_name("weed"))


class Store:
    """What stands for the names and the paths of the containers, and the server."""

    def __init__(self, folder: Path) -> None:
        self.secrets = folder / "deploy" / "secrets"
        s3, self._master, volume, self._filer = _free_ports(4)
        self.endpoint = f"http://{HOST}:{s3}"
        places = {
            "-dir=/data": f"-dir={folder}",
            "-ip=s3": f"-ip={HOST}",
            "-ip.bind=0.0.0.0": f"-ip.bind={HOST}",
            "-s3.port=8333": f"-s3.port={s3}",
            "-s3.config=/run/secrets/s3_server": f"-s3.config={self.secrets / 's3_server'}",
        }
        options = compose()["services"]["s3"]["command"]
        assert places.keys() <= set(options)
        ports = [f"-master.port={self._master}", f"-volume.port={volume}", f"-filer.port={self._filer}"]
        sockets = [f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"]
        self.command = [WEED, *(places.get(option, option) for option in options), *ports, *sockets]

    def make_bucket(self) -> None:
        """What the service `bucket` does."""
        (script,) = compose()["services"]["bucket"]["command"]
        for name, place in (("s3:9333", self._master), ("s3:8888", self._filer)):
            script = script.replace(name, f"{HOST}:{place}")
        script = script.replace("weed shell", f"{WEED} shell").replace("$$", "$")  # as compose does
        subprocess.run(["sh", "-euc", script], check=True, capture_output=True, timeout=60)

    def client(self, secret: str = "") -> S3Client:
        file = configparser.ConfigParser()
        file.read(self.secrets / "s3_credentials")
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=of_compose().s3_region,
            aws_access_key_id=file["default"]["aws_access_key_id"],
            aws_secret_access_key=secret or file["default"]["aws_secret_access_key"],
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )

    def answers(self) -> bool:
        try:
            self.client().list_objects_v2(Bucket="entrepot")
        except ClientError:
            return True
        except BotoCoreError:
            return False
        return True


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """With the secrets that deploy/start makes, and the bucket."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copytree(DEPLOY, folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
    (folder / "docker").symlink_to("/bin/true")
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run([folder / "deploy" / "start"], env=environment, check=True, capture_output=True)
    store = Store(folder)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(store.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        wait_until(store.answers, f"SeaweedFS answers: see {folder}/log", 60)
        store.make_bucket()
        yield store
    finally:
        server.kill()
        server.wait()


def test_the_registry_may_use_its_bucket(store: Store) -> None:
    """With the credentials of the replicas an upload in parts is written, listed, read and removed."""
    client, name = store.client(), "registry/data/00/00"
    bucket = of_compose().storage.removeprefix("s3://").partition("/")[0]
    upload = client.create_multipart_upload(Bucket=bucket, Key=name)["UploadId"]
    tag = client.upload_part(Bucket=bucket, Key=name, UploadId=upload, PartNumber=1, Body=b"content")["ETag"]
    parts: CompletedMultipartUploadTypeDef = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    client.complete_multipart_upload(Bucket=bucket, Key=name, UploadId=upload, MultipartUpload=parts)
    assert client.get_object(Bucket=bucket, Key=name)["Body"].read() == b"content"
    assert [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]] == [name]
    client.list_multipart_uploads(Bucket=bucket)
    client.delete_object(Bucket=bucket, Key=name)


def test_nothing_else(store: Store) -> None:
    """The credentials are for that bucket alone, and there is no way in without them."""
    with pytest.raises(ClientError, match="AccessDenied"):
        store.client().create_bucket(Bucket="another")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        store.client("guessed").list_objects_v2(Bucket="entrepot")


def test_again(store: Store) -> None:
    """Each start may make the bucket again: it is there, and what is in it stays."""
    store.client().put_object(Bucket="entrepot", Key="registry/.entrepot", Body=b"{}")
    store.make_bucket()
    assert store.client().head_object(Bucket="entrepot", Key="registry/.entrepot")["ContentLength"] == 2
