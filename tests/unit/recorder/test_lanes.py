from __future__ import annotations

import asyncio
import threading

import pytest

from recorder.lanes import Lane, LaneFull
from tests.helpers.waiting import PATIENCE_S


async def test_calls_run_in_threads_and_return_their_results() -> None:
    lane = Lane("test", threads=1, waiting=1)
    assert await lane.run("a", lambda: threading.current_thread().name) != threading.current_thread().name
    with pytest.raises(ZeroDivisionError):
        await lane.run("a", lambda: 1 // 0)
    assert await lane.run("a", max, 3, 7) == 7
    lane.close()


async def test_more_calls_of_one_client_than_may_wait_are_refused() -> None:
    lane, go_on = Lane("test", threads=1, waiting=1), threading.Event()
    running = [asyncio.ensure_future(lane.run("a", go_on.wait, PATIENCE_S)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(LaneFull, match="try again"):
        await lane.run("a", print)
    other = asyncio.ensure_future(lane.run("b", lambda: "not refused"))
    go_on.set()
    assert await asyncio.gather(*running) == [True, True]
    assert await other == "not refused"
    assert await lane.run("a", lambda: 7) == 7
    lane.close()


async def test_clients_take_turns() -> None:
    lane, go_on = Lane("test", threads=1, waiting=60), threading.Event()
    order: list[str] = []
    first = asyncio.ensure_future(lane.run("a", go_on.wait, PATIENCE_S))
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(lane.run("a", order.append, f"a{number}")) for number in range(30)]
    await asyncio.sleep(0)
    waiting += [asyncio.ensure_future(lane.run("b", order.append, f"b{number}")) for number in range(2)]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, *waiting)
    assert order[:4] == ["a0", "b0", "a1", "b1"]
    lane.close()


async def test_a_call_that_is_cancelled_gives_its_turn_to_the_next() -> None:
    lane, go_on = Lane("test", threads=1, waiting=60), threading.Event()
    first = asyncio.ensure_future(lane.run("a", go_on.wait, PATIENCE_S))
    given_up, last = (asyncio.ensure_future(lane.run("a", lambda: "done")) for _ in range(2))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    go_on.set()
    assert await first
    async with asyncio.timeout(PATIENCE_S):
        assert await last == "done"
    lane.close()


async def test_closing_ends_the_calls_that_wait() -> None:
    lane, go_on = Lane("test", threads=1, waiting=60), threading.Event()
    first = asyncio.ensure_future(lane.run("a", go_on.wait, PATIENCE_S))
    second = asyncio.ensure_future(lane.run("a", lambda: "never"))
    await asyncio.sleep(0)
    lane.close()
    with pytest.raises(asyncio.CancelledError):
        await second
    go_on.set()
    assert await first
