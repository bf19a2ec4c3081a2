"""What of a camera's URL may be shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hailod.redact import MASK, redact_url, scrub, secrets_of

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
    assert secrets_of("rtsp://al:s3cret@host/cam?channel=1&token=abcd") == {"al:s3cret", "s3cret", "abcd"}
