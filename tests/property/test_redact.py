"""What of a camera's URL may be shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hailod.mqtt.redaction import redacted
from hailod.redact import MASK, SecretFilter, redact_url, scrub, secrets_of

printable = st.characters(min_codepoint=33, max_codepoint=126)
password = st.text(printable, min_size=1, max_size=24)
user = st.text(st.characters(categories=("Ll", "Lu", "Nd"), max_codepoint=126), min_size=1, max_size=12)


@given(user, password, password)
def test_a_well_formed_url_keeps_its_address_and_loses_its_secrets(login: str, secret: str, token: str) -> None:
    """Host, path and the names of parameters stay readable, whatever the credentials are."""
    url = f"rtsp://{quote(login, safe='')}:{quote(secret, safe='')}@host:554/path?token={quote(token, safe='')}"
    assert redact_url(url) == "rtsp://***@host:554/path?token=***"


@given(user, password)
@example("user", "p@ss/wo:rd?#%40")
@example("user", "@")
@example("us", "a@b?c")
def test_an_unescaped_password_does_not_show(login: str, secret: str) -> None:
    """A password written without escaping leaves no trace: what is shown is one of two texts without any part of it."""
    shown = redact_url(f"rtsp://{login}:{secret}@host:554/path")
    assert shown in ("rtsp://***@host:554/path", "rtsp://***")


@given(user, password, st.text(printable, max_size=24).filter(lambda text: "&" not in text))
@example("user", "secret", "a@b")
@example("user", "secret", "a#b@c")
def test_an_unescaped_query_value_does_not_show(login: str, secret: str, value: str) -> None:
    """The value of a parameter shows neither with nor without escaping."""
    shown = redact_url(f"http://{login}:{quote(secret, safe='')}@host/path?token={value}")
    assert shown in {"http://***", "http://***@host/path?token=***", "http://***@host/path?token=***#***"} | {
        "http://***@host/path?token=" + end for end in ("", "#***")
    }


@given(user, password, st.text(printable, max_size=40), st.text(printable, max_size=40))
def test_scrubbing_finds_the_password_in_any_text(login: str, secret: str, before: str, after: str) -> None:
    """Neither the password as written nor as decoded survives in a text that quotes it."""
    written = quote(secret, safe="")
    secrets = secrets_of(f"rtsp://{login}:{written}@host/path")
    text = scrub(f"{before}\n{secret}\n{written}\n{after}", secrets)
    assert [line for line in text.split("\n") if line in (secret, written) and line not in MASK] == []


@pytest.mark.parametrize(
    "source", ["/video/a@b?c=d.mp4", "file:///a@b.mp4", "v4l2:/dev/video0", "csi:0", "synthetic:boxes?seed=2"]
)
def test_what_is_no_network_url_is_shown_as_it_is(source: str) -> None:
    """Paths and devices hold no credentials."""
    assert redact_url(source) == source
    assert secrets_of(source) == set()


def test_common_short_values_are_not_secrets() -> None:
    """`channel=1` must not turn every 1 of a log into asterisks."""
    basic = "YWw6czNjcmV0"
    assert secrets_of("rtsp://al:s3cret@host/cam?channel=1&token=abcd") == {"al:s3cret", "s3cret", "abcd", basic}


# What makes passwords hard to find: signs of URLs, of format strings, of JSON, of expressions, and other scripts.
NASTY = [
    "p%w!#@rd",
    "100%s%(x)s%%",
    "a:b@c/d?e=f#g&h",
    "{0}{x!r}${HOME}`id`",
    '{"a":"b","c":[1]}',
    "quo'te\"s",
    "back\\slash\\n",
    "pässwört-ключ-密码",
    "with some spaces",
    "%41%2f%00%zz",
    "(.*)[a-z]+\\d$^",
    "***",
    "a+b c",
    "😀😀😀😀",
]
hostile = st.sampled_from(NASTY) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=4, max_size=24
).filter(lambda text: len(text.strip()) >= 4)


@given(hostile)
def test_filter_finds_a_secret_in_every_form(secret: str) -> None:
    """A secret does not survive as it is, percent-encoded, in JSON, in a repr or in an exception of Python."""
    hidden = SecretFilter()
    hidden.add(secret)
    forms = [
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps({"x": secret}),
        json.dumps({"x": secret}, ensure_ascii=False),
        repr([secret]),
        repr(OSError(f"cannot open 'it': {secret}")),
        repr(secret.encode()),
    ]
    for form in forms:
        assert secret not in hidden.scrub(form).replace(MASK, ""), form


@given(hostile, hostile)
def test_nothing_of_a_document_that_is_published_holds_a_secret(secret: str, other: str) -> None:
    """Whatever text of a document holds a secret is masked in it, in tables and lists too; and the document stays JSON
    of the same shape."""
    hidden = SecretFilter()
    hidden.add(secret, other)
    reasons = [{"code": "camera_lost", "text": f"<{secret}>", "fix": [f"a {other} b", 7, None, True]}]
    document = {"v": 1, "state": "degraded", "reasons": reasons, "new key": {"new": secret}}
    shown = redacted("hailod/pi/health", document, hidden.scrub)
    assert isinstance(shown, Mapping)
    texts = [shown["reasons"][0]["text"], shown["reasons"][0]["fix"][0], shown["new key"]["new"]]
    assert texts[0].replace(MASK, "") in ("<>", "")
    assert secret not in texts[2].replace(MASK, "")
    assert other not in texts[1].replace(MASK, "")
    assert shown["state"] == "degraded"
    assert shown["reasons"][0]["fix"][1:] == [7, None, True]


def test_words_of_ours_stay() -> None:
    """A password that is an ordinary word blanks out no label, code, status or number; free text it does."""
    hidden = SecretFilter()
    hidden.add("person", "online", "degraded", "42")
    for topic, document in (
        ("hailod/pi/cam/front/state", {"objects": {"person": 2}, "model": "person"}),
        ("hailod/pi/cam/front/status", "online"),
        ("frigate/front/person", "42"),
        ("hailod/pi/schema/info", {"description": "a person"}),
        ("hailod/pi/models", {"models": [{"name": "x", "labels": ["person"]}]}),
        ("hailod/pi/reply/ping", {"cmd": "ping", "data": {"guess": ["person"]}}),
    ):
        assert redacted(topic, document, hidden.scrub) == document
    reply = {"cmd": "model.swap", "error": {"code": "bad_args", "message": "no person here"}}
    assert redacted("hailod/client/x", reply, hidden.scrub) == {
        "cmd": "model.swap",
        "error": {"code": "bad_args", "message": "no *** here"},
    }


def test_url_in_a_text_is_redacted_unasked() -> None:
    """User-info and query of a URL are masked though nobody said that they are secret; several in one word wholly."""
    scrubbed = SecretFilter().scrub
    assert scrubbed('source="rtsp://u:p@h/x?token=abc" next') == 'source="rtsp://***@h/x?token=*** next'
    assert "geheim" not in scrubbed("file://x,rtsp://u:geheim@h/y")
    assert scrubbed("see https://example.org/page") == "see https://example.org/page"


def test_filter_forgets_the_oldest_only() -> None:
    """However many cameras are added over the years, the filter stays bounded, and knows what was told last."""
    hidden = SecretFilter()
    hidden.add(*(f"secret-{number:06}-x" for number in range(5000)))
    assert hidden.scrub("secret-004999-x secret-004000-x") == "*** ***"
    assert hidden.scrub("secret-000001-x") == "secret-000001-x"
