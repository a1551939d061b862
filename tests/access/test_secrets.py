"""Weak passwords, htpasswd files and robots' secrets: what is refused, and what a refusal must not tell."""

import base64
import hashlib
import random
import re

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.passwords import (
    HtpasswdInvalid,
    PasswordInvalid,
    hash_secret,
    is_secret,
    make_secret,
    parse_htpasswd,
    refuse_weak,
)

GOOD = "$2y$05$" + "a" * 21 + "e" + "a" * 31


WEAK = [
    ("", "at least 8 characters"),
    ("1234567", "at least 8 characters"),
    ("🐎" * 7, "at least 8 characters"),
    ("x" * 1025, "at most 1024 bytes"),
    ("ä" * 513, "at most 1024 bytes"),
    ("correct\0horse", "without control characters"),
    ("correct horse\n", "without control characters"),
    ("correct\thorse", "without control characters"),
    ("correct\x7fhorse", "without control characters"),
    ("correct\x85horse", "without control characters"),
    ("correct\ud800horse", "without control characters"),
]


@pytest.mark.parametrize(("password", "advice"), WEAK)
def test_weak_passwords(password: str, advice: str) -> None:
    """The message says what to choose, and does not repeat the password."""
    with pytest.raises(PasswordInvalid, match=advice) as refusal:
        refuse_weak(password)
    assert len(password) < 2 or password not in str(refusal.value)


@pytest.mark.parametrize("password", ["12345678", "correct horse", "ä" * 512, "x" * 1024, "pässwörd", "a:b:c:d:e"])
def test_passwords_that_do(password: str) -> None:
    """Long enough is good enough: there are no rules of composition."""
    refuse_weak(password)


def test_htpasswd() -> None:
    """Comments, blank lines and line ends of any system are no entries."""
    one, two = GOOD, bcrypt.hashpw(b"b", bcrypt.gensalt(4, b"2a")).decode()
    text = f"# made in 2019\r\nalice:{one}\r\n\n   \n  # bob left\nbob@example.org:{two}"
    assert parse_htpasswd(text) == [("alice", one), ("bob@example.org", two)]
    assert parse_htpasswd("") == []


UNREADABLE = [
    ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "line 2: alice .*htpasswd -B"),
    ("alice:$apr1$abcdefgh$Yx1s5z8mQ8a0rjGf4Fh1e.", "line 2: alice .*htpasswd -B"),
    ("alice:rqXexS6ZhobKA", "line 2: alice .*htpasswd -B"),
    ("alice:$5$salt$Gcm6FsVtF/Qa77ZKD.iwsJlCVPY0XSMgLJL0Hnww/c1", "line 2: alice .*htpasswd -B"),
    ("alice:plain-password", "line 2: alice .*htpasswd -B"),
    (f"alice:{GOOD[:-1]}", "line 2: alice .*htpasswd -B"),
    (f"alice:{GOOD}:more", "line 2: alice .*htpasswd -B"),
    (f"alice:{GOOD.replace('2y', '2x')}", "line 2: alice .*htpasswd -B"),
    (f"alice:{GOOD.replace('$05', '$17')}", "line 2: alice .*cost 17.*htpasswd -B"),
    (f"alice:{GOOD.replace('$05', '$03')}", "line 2: alice .*cost 03.*htpasswd -B"),
    (f"bob:{GOOD}", "line 2: bob is there twice"),
    ("alice:", "line 2: a line is a name.*htpasswd -B"),
    ("alice", "line 2: a line is a name.*htpasswd -B"),
    (f":{GOOD}", "line 2: a line is a name.*htpasswd -B"),
    (f"al\x1b[31mice:{GOOD}", "line 2: a line is a name.*htpasswd -B"),
    (GOOD, "line 2: a line is a name.*htpasswd -B"),
    (f"{GOOD}:alice", "line 2: a line is a name.*htpasswd -B"),
    ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=:alice", "line 2: a line is a name.*htpasswd -B"),
]


@pytest.mark.parametrize(("line", "message"), UNREADABLE)
def test_htpasswd_that_cannot_be_read(line: str, message: str) -> None:
    """The line and the name are told, the hash never is."""
    with pytest.raises(HtpasswdInvalid, match=message) as refusal:
        parse_htpasswd(f"bob:{GOOD}\n{line}\n")
    told = set(re.findall(r"[^\s:]+", str(refusal.value)))
    assert not told & {part for part in line.split(":") if part not in {"alice", "bob"}}
    assert GOOD[7:-1] not in str(refusal.value)


@given(st.lists(st.one_of(st.text(), st.builds("{}:{}".format, st.text(max_size=8), st.just(GOOD)))))
def test_any_htpasswd_is_read_or_refused(lines: list[str]) -> None:
    """Nothing else is raised, and what is read has one bcrypt hash for each name."""
    try:
        entries = parse_htpasswd("\n".join(lines))
    except HtpasswdInvalid as refusal:
        assert GOOD not in str(refusal)  # noqa: PT017  # most texts are refused, some are not
    else:
        assert {stored for _, stored in entries} <= {GOOD}
        assert len(dict(entries)) == len(entries)


def test_a_secret() -> None:
    """It carries all of the 32 random bytes, in letters that need no quoting anywhere."""
    source = random.Random(7)  # noqa: S311  # a source that can be asked again
    secret = make_secret(source.randbytes)
    assert re.fullmatch(r"entrepot_[A-Za-z0-9_-]{43}", secret)
    assert base64.urlsafe_b64decode(secret.removeprefix("entrepot_") + "=") == random.Random(7).randbytes(32)  # noqa: S311
    assert hash_secret(secret) == hashlib.sha256(secret.encode()).hexdigest()
    assert is_secret(hash_secret(secret), secret)


@given(st.text(), st.text())
def test_a_secret_matches_its_hash_only(stored: str, secret: str) -> None:
    """Whatever a client sends and whatever is stored."""
    assert is_secret(hash_secret(secret), secret)
    assert is_secret(hash_secret(stored), secret) == (stored == secret)
    assert not is_secret(stored, secret)
    assert not is_secret(hash_secret(secret).upper(), secret)


@pytest.mark.parametrize("stored", ["", "é", "\udc80", "0" * 64])
def test_a_stored_secret_that_is_none(stored: str) -> None:
    """False, without an error."""
    assert not is_secret(stored, "entrepot_\ud800")
