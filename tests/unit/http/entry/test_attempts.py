"""The limit of logins with a password."""

from __future__ import annotations

from sfu.http.entry.attempts import IN_ALL, PER_ADDRESS, WINDOW_S, Attempts


def test_an_address_has_few_attempts_a_minute() -> None:
    attempts = Attempts()
    assert [attempts.begin("a", at) for at in range(PER_ADDRESS)] == [None] * PER_ADDRESS
    assert attempts.begin("a", 10) == WINDOW_S - 10
    assert attempts.begin("b", 10) is None
    assert attempts.begin("a", WINDOW_S) is None
    assert attempts.begin("a", WINDOW_S) == 1


def test_all_together_have_few_attempts_a_minute() -> None:
    attempts = Attempts()
    assert [attempts.begin(str(at), at) for at in range(IN_ALL)] == [None] * IN_ALL
    assert attempts.begin("new", 30) == WINDOW_S - 30


def test_a_right_login_takes_back_the_wrong_ones_of_its_address() -> None:
    attempts = Attempts()
    for _ in range(PER_ADDRESS):
        attempts.begin("a", 0)
    attempts.succeeded("a")
    assert attempts.begin("a", 1) is None
