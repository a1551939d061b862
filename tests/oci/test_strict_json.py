"""The strict JSON decoder: everything that two readers could read differently is refused, everything else is read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.oci.strict_json import JSONRefused, decode

MIB = 1 << 20

STRINGS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | STRINGS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(STRINGS, children, max_size=4),
    max_leaves=30,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_plain_values_are_read(value: Any, is_ascii: bool, indent: int | None) -> None:
    """Every value that JSON can say comes out as it went in, escaped or not, indented or not."""
    assert decode(json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode()) == value


def check_reading(content: bytes) -> None:
    """Bytes raise nothing but JSONRefused; what is read, the standard library reads in the same way."""
    try:
        value = decode(content)
    except JSONRefused:
        return
    assert value == json.loads(content)


@given(st.binary())
def test_bytes_are_read_or_refused(content: bytes) -> None:
    """Any bytes at all."""
    check_reading(content)


@given(st.text('{}[]:,"\\u0129eE+-. nulltrfas\n', max_size=40))
def test_near_json_is_read_or_refused(text: str) -> None:
    """Text that is nearly JSON."""
    check_reading(text.encode())


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"{}", {}),
        (b" [1, 2.5, -3, 1e3]\n", [1, 2.5, -3, 1000.0]),
        (b'"\\u00e9\\ud83d\\ude00"', "\u00e9\U0001f600"),
        ('"\u00e9\U0001f600"'.encode(), "\u00e9\U0001f600"),
        (b"9999999999999999999", 9999999999999999999),
        (b"-0.0", -0.0),
        (b'{"a": {"a": 1}, "b": {"a": 2}}', {"a": {"a": 1}, "b": {"a": 2}}),
        (b"[" * 63 + b"]" * 63, json.loads(b"[" * 63 + b"]" * 63)),
        (b'"' + b"x" * (4 * MIB) + b'"', "x" * (4 * MIB)),
        (b'{"' + b"k" * MIB + b'":1}', {"k" * MIB: 1}),
    ],
    ids=range(10),
)
def test_unusual_but_plain(content: bytes, value: Any) -> None:
    """Long, deep and escaped values within the limits are read."""
    assert decode(content) == value


REFUSED = {
    "nothing": b"",
    "white space": b" \n\t",
    "cut off": b'{"a": 1',
    "cut off in a string": b'{"a": "',
    "something behind it": b"{} x",
    "two documents": b"{}{}",
    "two lines": b"{}\n{}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without mark": '{"a": 1}'.encode("utf-16-le"),
    "UTF-32": '{"a": 1}'.encode("utf-32-be"),
    "Latin-1": b'{"a": "\xe9"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "surrogates in UTF-8": b'{"a": "\xed\xa0\xbd\xed\xb8\x80"}',
    "half a surrogate pair": b'{"a": "\\ud83d"}',
    "the other half": b'{"a": "\\ude00"}',
    "halves in the wrong order": b'{"a": "\\ude00\\ud83d"}',
    "half a surrogate pair in a key": b'{"\\ud83d": 1}',
    "half a surrogate pair alone": b'"\\uDFFF"',
    "NUL in a value": b'{"a": "b\\u0000"}',
    "NUL in a key": b'{"\\u0000": 1}',
    "NUL deep inside": b'[[[{"a": [{"\\u0000": 1}]}]]]',
    "raw NUL": b'{"a": "\0"}',
    "raw line break in a string": b'{"a": "\n"}',
    "NUL behind it": b"{}\0",
    "repeated key": b'{"a": 1, "a": 2}',
    "repeated key, same value": b'{"a": 1, "a": 1}',
    "repeated key, one escaped": b'{"a": 1, "\\u0061": 2}',
    "repeated key deep inside": b'[{"b": {"a": 1, "c": 2, "a": 1}}]',
    "NaN": b"[NaN]",
    "Infinity": b"[Infinity]",
    "-Infinity": b'{"a": -Infinity}',
    "1e999": b"[1e999]",
    "-1e999": b"[-1e999]",
    "-0": b'{"schemaVersion": -0}',
    "number of 20 digits": b"[" + b"1" * 20 + b"]",
    "number of 5,000 digits": b"[" + b"1" * 5_000 + b"]",
    "fraction of 5,000 digits before the point": b"[" + b"1" * 5_000 + b".5]",
    "leading zero": b"[01]",
    "plus": b"[+1]",
    "hexadecimal": b"[0x10]",
    "bare point": b"[1.]",
    "single quotes": b"{'a': 1}",
    "comment": b"{} // no",
    "comma at the end": b"[1,]",
    "comma at the end of an object": b'{"a": 1,}',
    "bare word": b"{a: 1}",
    "True": b"[True]",
    "form feed": b"\x0c{}",
    "no-break space": b"\xc2\xa0{}",
    "nested too deep": b"[" * 65 + b"]" * 65,
    "objects nested too deep": b'{"a":' * 65 + b"1" + b"}" * 65,
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects nested 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 open brackets": b"[" * 100_000,
    "too many values": b"[" + b"0," * 400_001 + b"0]",
    "nothing but brackets": b"[" + b"[]," * 500_000 + b"[]]",
    "bad escape": b'["\\x41"]',
    "short escape": b'["\\u12"]',
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_refused(content: bytes) -> None:
    """What is no JSON, or JSON that readers disagree about, is refused and says why."""
    with pytest.raises(JSONRefused) as raised:
        decode(content)
    assert 0 < len(str(raised.value)) < 200


@pytest.mark.input(92)
def test_very_many_keys_are_read() -> None:
    """An object with very many keys costs its size, not its square."""
    content = b"{" + b",".join(b'"%d":0' % number for number in range(300_000)) + b"}"
    assert len(decode(content)) == 300_000


@given(STRINGS, STRINGS)
def test_repeated_keys_are_refused_wherever_they_are(key: str, other: str) -> None:
    """Whatever the key is, standing twice in one object is once too often."""
    name = json.dumps(key)
    with pytest.raises(JSONRefused):
        decode(f"[{{{name}: 1, {json.dumps(other + key + 'x')}: 2, {name}: 3}}]".encode())
