"""Completing an upload of whose parts not all belong to the content, at a store that wants each of them named.

S3 leaves out the parts that are not named. Ceph RGW refuses with InvalidPart, and no part can be removed. Such parts
are what a torn append has sent, or a last part that was too small to be followed and was sent again with what follows.
The object is made of all parts then, and at once replaced by one that is copied from the parts that belong to it.
"""

import asyncio
from itertools import accumulate

from storage.s3.means import Means
from storage.s3.parts import LEAST, cut_copies
from storage.s3.place import S3Object
from storage.s3.progress import Part, Progress

_COPIED_AT_ONCE = 8


async def complete_without(means: Means, key: str, progress: Progress, parts: list[Part]) -> list[Part] | None:
    """Complete the upload of `progress` as these of its parts. Returns the parts that the object has instead.

    None, and nothing is done, where that is not what the store has refused: all parts are named, or some are others'.
    """
    name = means.name(key)
    found = await means.objects.list_parts(name, progress.multipart) or []
    kept = {part.number: part for part in parts}
    stored = list({part.number: kept.get(part.number, part) for part in found}.values())  # some list what is replaced
    if len(stored) == len(parts) or not set(parts) <= set(found):
        return None
    if any(part.size < LEAST and part.number in kept for part in stored[:-1]):
        return None
    stored = [*(await _enlarge(means, key, progress, stored[:-1])), stored[-1]]
    etag = await means.objects.complete(name, progress.multipart, stored, progress.replaces)
    means.begun.end(key, progress.multipart)
    whole = S3Object(means.objects.place.bucket, name, sum(part.size for part in stored), etag)
    progress.multipart, progress.replaces = await means.begin(key), etag
    spans = [span for run in _runs(stored, set(kept)) for span in _cut(run)]
    copied: list[Part] = []
    for first in range(0, len(spans), _COPIED_AT_ONCE):
        few = enumerate(spans[first : first + _COPIED_AT_ONCE], first + 1)
        copied += await asyncio.gather(*(_copy(means, name, progress.multipart, whole, *each) for each in few))
    return copied


async def _enlarge(means: Means, key: str, progress: Progress, surplus: list[Part]) -> list[Part]:
    """Write over those that no store takes before the last one."""
    enlarged: list[Part] = []
    for part in surplus:
        if part.size < LEAST:
            etag = await means.objects.upload_part(means.name(key), progress.multipart, part.number, bytearray(LEAST))
            enlarged.append(Part(part.number, LEAST, etag))
        else:
            enlarged.append(part)
    return enlarged


async def _copy(means: Means, name: str, multipart: str, source: S3Object, number: int, span: range) -> Part:
    return Part(number, len(span), await means.objects.copy_part(name, multipart, number, source, span))


def _runs(stored: list[Part], kept: set[int]) -> list[range]:
    """Where the kept ones are in the object that is made of all, those that follow one another as one."""
    runs: list[range] = []
    ends = accumulate(part.size for part in stored)
    for part, end in zip(stored, ends, strict=True):
        if part.number not in kept:
            continue
        first = end - part.size
        if runs and runs[-1].stop == first:
            first = runs.pop().start
        runs.append(range(first, end))
    return runs


def _cut(run: range) -> list[range]:
    return [range(run.start + span.start, run.start + span.stop) for span in cut_copies(len(run))]
