"""The numbers of sealed messages: none is taken twice, however much is forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from sfu.access.numbers import GrowingNumbers

SAID = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("wxyz"), st.integers(0, 20)), max_size=60)


@given(SAID)
def test_no_number_is_taken_twice_and_memory_is_bounded(said: list[tuple[str, str, int]]) -> None:
    numbers = GrowingNumbers(tokens=2, topics=2)
    latest: dict[tuple[str, str], int] = {}
    for jti, topic, number in said:
        last = numbers.last(jti, topic)
        taken = numbers.take(jti, topic, number)
        assert taken == (number > last)
        if taken:
            assert number > latest.get((jti, topic), -1)
            latest[jti, topic] = number
        assert numbers.known <= 4


def test_a_token_does_not_raise_the_floor_of_another() -> None:
    numbers = GrowingNumbers(topics=2)
    for topic in "abcdef":
        assert numbers.take("eve", topic, 1_000_000 + ord(topic))
    assert numbers.take("ann", "a", 1)
