"""What `entrepot doctor` says of an S3 bucket, and of sending clients there."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

from registry.api.origin import is_loopback
from registry.config import Config
from registry.doctor import Diagnosis, broken, fine, warning
from registry.identity import parse_address
from registry.stores import make_place
from storage.s3.probe import S3Probe

_SUBJECT = "redirects"
_OR_OFF = "set ENTREPOT_S3_PUBLIC_ENDPOINT to where clients reach it, or ENTREPOT_S3_REDIRECTS=off"


def examine_bucket(config: Config) -> Iterator[Diagnosis]:
    """What the S3 server can do, tried out."""
    for finding in asyncio.run(S3Probe(make_place(config)).examine()):
        text = f"{finding.name}: {finding.text}"
        if not finding.ok:
            advice = finding.advice or "correct ENTREPOT_STORAGE, ENTREPOT_S3_… and AWS_…, or ask the server's keeper"
            yield broken("bucket", text, advice)
        elif finding.advice:
            yield warning("bucket", text, finding.advice)
        else:
            yield fine("bucket", text)


def examine_redirects(config: Config) -> Diagnosis:
    """Whether clients that are sent to the S3 server will get there, and be served."""
    if config.s3_redirects == "off":
        return fine(_SUBJECT, "off: all blobs pass through the server")
    endpoint = config.s3_public_endpoint or config.s3_endpoint
    host, own = urlsplit(endpoint).hostname or "", urlsplit(config.public_url).hostname or ""
    if is_loopback(host) and not is_loopback(config.host):
        return warning(_SUBJECT, f"{endpoint} is this machine only: to others blobs pass through the server", _OR_OFF)
    if own and (host == own or host.endswith(f".{own}")):
        text = f"{host} is the registry's name, or below it: newer clients would bring their token, which S3 refuses"
        return warning(_SUBJECT, f"{text}, so blobs pass through the server", "give the S3 server another name")
    if config.public_url.startswith("https:") and endpoint.startswith("http:"):
        text = f"the registry has TLS and {endpoint} has not: blobs cross the network unencrypted"
        return warning(_SUBJECT, text, "give the S3 server TLS, and name it in ENTREPOT_S3_PUBLIC_ENDPOINT")
    if host and "." not in host and not is_loopback(host) and parse_address(host) is None:
        return warning(_SUBJECT, f"{host} is a short name, which other networks do not know", _OR_OFF)
    return fine(_SUBJECT, f"clients get large blobs from {endpoint or 'AWS'}")
