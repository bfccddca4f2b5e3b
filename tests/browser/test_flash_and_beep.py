"""Sound and picture of a real Chromium are together in its recording."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from playwright.async_api import Browser

from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.flash_and_beep import offsets, recorded

Record = Callable[[str, object], None]


async def test_flashes_and_beeps_are_together_in_the_file(
    chromium: Browser, mosquitto: Callable[..., Mosquitto], tmp_path: Path, record_property: Record
) -> None:
    segments = await recorded(chromium, mosquitto().url, tmp_path, 4.5)
    found = offsets(segments)
    record_property("offsets_ms", [round(offset.ms) for offset in found])
    assert len(found) >= 3
    assert abs(statistics.median(offset.ms for offset in found)) < 40  # a starved machine's page loses a frame or two
