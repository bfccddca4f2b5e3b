"""What of a live input is too late to be sent."""

from __future__ import annotations

from sfu.clients.inputs.backlog import Piece, Slowness, beginning


def test_a_connection_begins_with_the_newest_key_frame() -> None:
    pieces = [Piece(0, n / 10, n % 10 == 0) for n in range(25)] + [Piece(1, 1.9, True), Piece(1, 2.1, True)]
    kept = [piece for piece, keep in zip(pieces, beginning(pieces, 0), strict=True) if keep]
    assert [piece.seconds for piece in kept] == [2.0, 2.1, 2.2, 2.3, 2.4, 2.1]


def test_without_a_key_frame_all_of_it_is_kept() -> None:
    pieces = [Piece(0, n / 10, False) for n in range(5)]
    assert beginning(pieces, 0) == [True] * 5


def test_sound_alone_begins_with_its_latest_packet() -> None:
    assert beginning([Piece(0, n / 50, True) for n in range(3)], None) == [False, False, True]


def test_an_encoder_that_falls_behind_goes_on_with_the_next_key_frame() -> None:
    slowness = Slowness()
    skipped = []
    now = 0.0
    for number in range(100):
        picture = Piece(0, number / 25, number % 25 == 0)
        if slowness.skips(picture, now, waited=number == 0):
            skipped.append(number)
            continue
        now += 0.08  # twice the time that there is
    assert skipped
    behind = [number for number in range(100) if number not in skipped and number - 1 in skipped]
    assert all(number % 25 == 0 for number in behind)
    assert now <= 100 / 25 + 0.6


def test_pictures_that_the_network_held_back_are_not_our_slowness() -> None:
    slowness = Slowness()
    slowness.skips(Piece(0, 0.0, True), 0.0, waited=True)
    assert not slowness.skips(Piece(0, 0.04, False), 5.0, waited=True)
    assert not any(slowness.skips(Piece(0, n / 25, False), 5.0, waited=False) for n in range(2, 125))
