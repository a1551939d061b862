r"""The bad inputs of the distribution API, from the request line to the lists: each row has its tests.

.venv/bin/pytest -m input                 all of them
grep -rnE 'input\(.*\b63\b' tests          those of one row

What is true of every row beside its own sentence is in tests/api/watching.py.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
NOT_IN_MAKE_TEST = {"clients", "faults", "image", "soak"}
# What comes in, and what must hold then. Numbers that are missing here were never given.
ROWS = {
    # Request line, path, transport
    1: "an escaped slash in a name: 400 NAME_INVALID, nobody takes it for two parts",
    2: "dot segments, escaped or not: 400 or 404, nothing above /v2/ is reached",
    3: "NUL in the path: 400 NAME_INVALID",
    5: "doubled slashes and a last one too many: 404 or 400, never a redirect",
    6: "/V2/ is 404; /v2 answers as /v2/, without a redirect",
    7: "an absolute URL in the request line: 400; *: 404",
    8: "a fragment or a backslash in the path: 400 or 404",
    9: "a path of more than 8 KiB, or more target than the limit, as soon as it is too long: 414",
    11: "two Hosts, none, or what is no host: 400; an unknown one is served, and no URL is made of it",
    12: "headers of proxies from who is none: no Location, realm, address or limit changes",
    13: "lengths that two readers read differently: 400 and the end of the connection",
    14: "transfer codings other than chunked: 400 and the end of the connection",
    15: "chunks that cannot be read: 400; extensions, trailers and many small chunks are read",
    17: "methods of HTTP that an endpoint does not have: 405 with Allow; what is no method: 400",
    18: "Expect: 100-continue is answered before the body, and a body that never comes ends; any other: 417",
    19: "a body where none belongs: read and forgotten up to 4 MiB, then the connection ends",
    20: "a hundred requests in one packet: a hundred answers, in order",
    21: "another protocol, or noise: 400 in the words of the specification, and the end of the connection",
    23: "Accept and Accept-Encoding of 64 KiB, or unreadable: not looked at",
    24: "lists of entity tags, long, weak or malformed: read in linear time, 304 or 412",
    25: "cookies: not looked at; more or longer headers than the limits: 431",
    # Repository names
    26: "an empty name or part: 404 or 400 NAME_INVALID",
    27: "letters outside the grammar, of whatever script: 400 NAME_INVALID",
    29: "line ends, spaces and invisible letters at the end of a name: 400 NAME_INVALID",
    30: "1 and 255 characters are a name, 256 are not; parts are not counted",
    31: "a name made to keep the grammar busy: refused by its length first",
    32: "names like endpoints: usable at every endpoint, paths are read from the right",
    33: "names like directories: no name is ever part of a path or key in the store",
    35: "names that differ in case or normal form: only one of them is in the grammar",
    36: "the name of a deleted repository: old tokens and sessions open nothing",
    # Tags and digests
    37: "what is no tag: 404 for who reads, 400 for who writes",
    38: "a tag with a colon is a digest, and a wrong one is 400 DIGEST_INVALID; sha256-... is a tag",
    39: "a digest of another length, case or alphabet: 400 DIGEST_INVALID",
    41: "a digest that is a path: 400 DIGEST_INVALID, or NAME_INVALID where it makes another path",
    42: "a digest of 8 KiB: 400, and no answer repeats it",
    43: "the other algorithm's digest of what is stored: 404 until it is pushed under that, too",
    44: "digest= twice, empty, or together with mount=: 400",
    45: "tags that differ in case: two tags, in byte order",
    # GET and HEAD of blobs, ranges
    47: "an unknown blob and one of another repository: the same 404 BLOB_UNKNOWN",
    48: "a range that begins after the end, or ends before it begins: 416 with the blob's size",
    49: "what is no range: the whole blob",
    50: "a range that ends far behind the blob: 206 up to its end",
    51: "up to sixteen ranges: 206 with parts; more, or overlapping ones: the whole blob",
    53: "If-Range of something else: the whole blob",
    54: "Range with HEAD, with manifests, with 304 and 404: ignored",
    55: "a blob whose file is gone, short or long: 404 or a broken connection, never 200 with a wrong length",
    56: "a client that does not read: others are served, it gets every byte if it reads in time, else it is cut off",
    57: "DELETE of a blob: unknown 404, in use 405 that names the manifests (202 where sparse), no digest 400",
    # Upload sessions
    59: "a POST with a long body and no digest: 202, the body is forgotten, the connection ends",
    60: "a POST with the blob of another digest, or of another length: 400 DIGEST_INVALID",
    61: "an unknown digest-algorithm: 400 DIGEST_INVALID; the closing digest may be of the other known one",
    62: "a chunk that begins elsewhere: 416 with where the session stands",
    63: "a Content-Range in the specification's form or RFC 9110's is read; what is neither: 400",
    65: "chunks without Content-Range: appended",
    66: "an empty chunk: 202, the session stands where it stood, `0-0` when it is empty",
    67: "any Content-Type of a chunk, or none: accepted",
    68: "a client that stops in a chunk: nothing of the chunk counts",
    69: "two requests on one session: one wins, the other hears 416; nothing is appended after the check",
    71: "a last chunk that begins elsewhere: 416",
    72: "the empty blob: 201",
    73: "a blob that is there: 201, the session ends, the bytes are stored once",
    74: "a PUT again: 201 if the blob is in the repository, else 404 BLOB_UPLOAD_UNKNOWN",
    75: "the state of a session: 204 with Range and Location; after DELETE 404",
    77: "an invented session, or one of somebody else: 404, the id is all there is to a session",
    78: "ten terabytes announced: nothing is reserved; sessions that are left expire",
    79: "a blob over the limit, announced or not: 413, the session ends, and nothing of it is left",
    81: "chunks of one byte: accepted, each at a bounded price",
    # Mounts
    83: "a mount without `from`: found where the caller may pull, else 202",
    84: "`from` the same repository: 201; `from` that is no name: 400 NAME_INVALID",
    85: "`mount` that is no digest: 400 DIGEST_INVALID",
    86: "a mount of a manifest: 202, it is no blob",
    87: "a mount of what is still being pushed: 202",
    89: "a mount from where the caller may not pull: 202",
    # PUT of manifests
    91: "what is no JSON object in UTF-8: 400 MANIFEST_INVALID",
    92: "too deep, too many values, too many digits: 400 MANIFEST_INVALID, in linear time",
    93: "numbers that readers disagree about, and what is no number: 400 MANIFEST_INVALID",
    95: "half a surrogate pair and NUL: 400 MANIFEST_INVALID, on every database",
    96: "a Content-Type that contradicts the manifest, is none, or is text: 400; without one, mediaType counts",
    97: "layers and manifests in one, and Docker's schema 1: 400 MANIFEST_INVALID",
    98: "another schemaVersion, or none, where there is one: 400 MANIFEST_INVALID",
    99: "a descriptor with one thing wrong: 400 MANIFEST_INVALID",
    101: "absent config, layer or child: 404 MANIFEST_BLOB_UNKNOWN, one error for each digest",
    102: "content that only another repository has: absent",
    103: "a manifest where a blob is needed: absent; a blob as the child of an index is accepted",
    104: "null or an object where a list is needed: 400; empty lists are valid",
    105: "more than 10,000 descriptors: 400; the same one again counts once",
    107: "`data` that is not the content: 400 MANIFEST_INVALID",
    108: "a subject that is absent, a blob, a referrer itself: 201 with OCI-Subject; no descriptor: 400",
    109: "indexes in indexes, of whatever depth, and many paths to one child: each is visited once",
    110: "a circle of indexes, which only a damaged database can have: every walk ends",
    111: "children of any media type: accepted, and held",
    113: "`tag` up to a hundred times: all are set or none; more: 414",
    114: "an immutable tag: 201 for what it points to, 403 DENIED for anything else",
    115: "the same manifest with another Content-Type: 400, the first one stays",
    116: "a manifest of more than 4 MiB, announced or not: 413; one that stops coming: 408",
    117: "annotations in great number or length, or for a terminal: limited, and kept as they are",
    119: "a config that is no JSON: never read",
    120: "one tag by many at once: all 201, it points to one of theirs",
    # GET, HEAD and DELETE of manifests
    121: "any Accept: the manifest as it is stored",
    122: "a blob asked for as a manifest, a manifest as a blob: 404",
    123: "DELETE of a tag: the tag alone; an absent one: 404",
    125: "DELETE again, or in an unknown repository: 404",
    # Lists
    126: "n=0: an empty list, no Link",
    127: "n that is no number, or comes twice: 400 UNSUPPORTED",
    128: "a huge n: as many as a page has",
    129: "`last` that was never a tag, or is no text: what sorts after it",
    131: "tags that come and go between pages: no other is lost or comes twice",
    132: "byte order, everywhere",
    133: "tags of a repository without any: an empty list; of an unknown one: 404 NAME_UNKNOWN",
    134: "referrers: no digest 400, unknown ones an empty list, filters are plain texts, forged pages 400",
    135: "referrers with large annotations: pages by bytes, with a Link",
}
# Rows of what the registry does not have: a largest blob, quotas, repositories that nobody may write to.
NOT_BUILT = {80, 90}


def marks(tree: ast.Module) -> Iterator[int]:
    """The rows that the tests of a module name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for call in (part for decorator in node.decorator_list for part in ast.walk(decorator)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.input":
                    yield from (ast.literal_eval(argument) for argument in call.args)


@cache
def find_marks() -> frozenset[int]:
    paths = (path for path in TESTS.rglob("test_*.py") if path.relative_to(TESTS).parts[0] not in NOT_IN_MAKE_TEST)
    return frozenset(row for path in paths for row in marks(ast.parse(path.read_text())))


def test_each_row_has_a_test() -> None:
    """And each test that names one names one that there is."""
    assert find_marks() == ROWS.keys()
    assert not ROWS.keys() & NOT_BUILT
