"""Bytes of strangers raise nothing but the errors that are meant for them; `tests/benchmarks/fuzz.py` is longer."""

from __future__ import annotations

import random

import pytest

from tests.helpers.remote_parsers import PARSERS, changed

each_parser = pytest.mark.parametrize("name", PARSERS)
ROUNDS = 150


@each_parser
def test_bytes_that_are_as_they_should_be_are_read(name: str) -> None:
    parser = PARSERS[name]
    assert parser.seeds()
    for seed in parser.seeds():
        parser.call(seed)


@each_parser
def test_changed_bytes_raise_nothing_but_a_refusal(name: str) -> None:
    parser = PARSERS[name]
    rng = random.Random(name)
    seeds = parser.seeds()
    for _ in range(ROUNDS):
        data = changed(rng.choice(seeds), rng)
        try:
            parser.call(data)
        except parser.raises:
            continue
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}") from error
