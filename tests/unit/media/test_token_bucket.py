"""A token bucket is full at first, fills with time, and never beyond its burst."""

from __future__ import annotations

from sfu.media.token_bucket import TokenBucket


def test_it_fills_with_time_up_to_its_burst() -> None:
    bucket = TokenBucket(rate=2, burst=10)
    bucket.fill(100.0)
    assert bucket.tokens == 10
    bucket.tokens -= 8
    bucket.fill(101.0)
    assert bucket.tokens == 4
    bucket.fill(200.0)
    assert bucket.tokens == 10


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    bucket = TokenBucket(rate=2, burst=10)
    bucket.fill(100.0)
    bucket.tokens = 3
    bucket.fill(99.0)
    assert bucket.tokens == 3
