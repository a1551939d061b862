"""What the tests of the races have in common: an image, and how it is pushed and looked at."""

from tests.garbage.oracle import named_by
from tests.garbage.yard import Yard
from tests.scenarios.images import Content, make_blob, make_image, make_index

CONFIG, LAYER = make_blob("config"), make_blob("layer")
IMAGE = make_image(CONFIG, [LAYER])
INDEX = make_index([IMAGE])
SIGNATURE = make_image(CONFIG, subject=IMAGE)
LONE = make_image(LAYER)
OTHER = make_blob("other")


async def push_image(yard: Yard, name: str = "a", tag: str = "") -> None:
    for blob in (CONFIG, LAYER):
        await yard.push_blob(name, blob)
    await yard.push_manifest(name, IMAGE, tag)


async def expect_whole(yard: Yard, name: str = "a", manifest: Content = IMAGE) -> None:
    """The manifest can be pulled, with all its blobs, now and when the collector has looked at all there is."""
    for _ in range(2):
        assert await yard.pull(name, manifest) == manifest.content
        for blob in (CONFIG, LAYER):
            if str(blob.digest) in named_by(manifest)[0]:
                assert await yard.read_blob(name, blob) == blob.content
        await yard.quiesce()
