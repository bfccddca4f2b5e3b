"""Passwords in URLs: hidden wherever they are shown, taken as people type them."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.credentials import masked, password, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:secret@cam:554/x", "rtsp://admin:***@cam:554/x"),
        ("rtsp://admin:p%40ss%3A@cam/x", "rtsp://admin:***@cam/x"),
        ("rtsp://admin:p@ss:w/rd#?@cam/x", "rtsp://admin:***@cam/x"),
        ("cannot open 'http://token@cam/x': no", "cannot open 'http://***@cam/x': no"),
        ("mqtts://a:b@c and rtsp://d:e@f", "mqtts://a:***@c and rtsp://d:***@f"),
        ("mqtt://user:***@host:1883", "mqtt://user:***@host:1883"),
        ("rtsp://cam/x and no mail", "rtsp://cam/x and no mail"),
        ("someone@example.org", "someone@example.org"),
    ],
)
def test_passwords_are_hidden_in_any_text(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("rtsp://admin:p@ss:w/rd%@127.0.0.1:554/s?c=1", "rtsp://admin:p%40ss%3Aw%2Frd%25@127.0.0.1:554/s?c=1"),
        ("rtsp://admin:p#1?@[::1]:554/s", "rtsp://admin:p%231%3F@[::1]:554/s"),
        ("rtsp://admin:p%40ss@cam/s", "rtsp://admin:p%40ss@cam/s"),
        ("rtsp://cam:554/s?user=a@b", "rtsp://cam:554/s?user=a@b"),
        ("/films/a@b.mp4", "/films/a@b.mp4"),
        ("file:///films/a@b.mp4", "file:///films/a@b.mp4"),
    ],
)
def test_logins_may_be_typed_as_they_are(typed: str, url: str) -> None:
    assert quoted(typed) == url


@given(st.text(st.characters(codec="utf-8", exclude_characters="%", exclude_categories=["Cs"]), min_size=1))
def test_any_password_with_a_slash_in_front_arrives_whole_and_is_hidden(secret: str) -> None:
    url = quoted(f"rtsp://admin:/{secret}@cam:554/stream")
    parts = urlsplit(url)
    assert (parts.hostname, parts.port, unquote(parts.password or "")) == ("cam", 554, f"/{secret}")
    assert masked(url) == "rtsp://admin:***@cam:554/stream"


def test_the_password_of_a_url() -> None:
    assert password("rtsp://admin:p%40@cam") == "p%40"
    assert password("rtsp://admin@cam") is None
    assert password("rtsp://cam") is None
