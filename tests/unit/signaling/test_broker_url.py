"""The broker's address: what users of other MQTT programs write, and that no password is ever shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.signaling.broker_url import BrokerUrl


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("mqtt://broker", BrokerUrl("mqtt", "broker", 1883)),
        ("mqtts://broker/", BrokerUrl("mqtts", "broker", 8883)),
        ("mqtt://[::1]:1884", BrokerUrl("mqtt", "::1", 1884)),
        ("ws://broker", BrokerUrl("ws", "broker", 80, "/mqtt")),
        ("wss://broker:9001/a/b", BrokerUrl("wss", "broker", 9001, "/a/b")),
        ("mqtt://me@broker", BrokerUrl("mqtt", "broker", 1883, username="me")),
        ("mqtt://me:p%40ss%2F@broker", BrokerUrl("mqtt", "broker", 1883, username="me", password="p@ss/")),
        ("mqtt://me:p@s:s/#?%@broker", BrokerUrl("mqtt", "broker", 1883, username="me", password="p@s:s/#?%")),
    ],
)
def test_urls_and_their_defaults(text: str, url: BrokerUrl) -> None:
    assert BrokerUrl.parse(text) == url


@pytest.mark.parametrize(
    "text", ["", "broker", "http://broker", "mqtt://", "mqtt://a:b:c", "mqtt://a:70000", "mqtt://a/path", "ws://a/?x=1"]
)
def test_what_cannot_be_an_address_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="broker's URL"):
        BrokerUrl.parse(text)


def test_the_password_shows_nowhere() -> None:
    url = BrokerUrl.parse("mqtts://me:secret@broker")
    assert str(url) == "mqtts://me:***@broker:8883"
    assert "secret" not in repr(url)
    with pytest.raises(ValueError, match="invalid") as caught:
        BrokerUrl.parse("mqtts://me:secret@broker:x")
    assert "secret" not in str(caught.value)


@given(st.text().map("mqtt://".__add__) | st.text())
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    try:
        url = BrokerUrl.parse(text)
    except ValueError:
        return
    assert url.host
    assert 0 <= url.port <= 65535
