"""A finished WebM recording in a real Chromium: its duration is known, and every moment can be sought."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser

from recorder.store.directory import Store
from tests.helpers.recordings import record, units
from tests.helpers.recordings_server import recordings_server

SEEK = """async ([url, times]) => {
  const video = document.createElement('video');
  video.src = url;
  await new Promise((ready, failed) => {
    video.onloadedmetadata = ready;
    video.onerror = () => failed(video.error.message);
  });
  const found = [video.duration, video.seekable.end(0)];
  for (const time of times) {
    video.currentTime = time;
    await new Promise((sought) => video.onseeked = sought);
    found.push(video.currentTime);
  }
  return found;
}"""


async def test_chromium_seeks_in_a_finished_webm(chromium: Browser, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store, codec="VP8", sequence=units("VP8", seconds=20))
    async with recordings_server(store) as url:
        page = await chromium.new_page()
        await page.goto(f"{url}healthz")
        address = f"{url}api/recordings/media/{store.name(segment)}"
        found = await page.evaluate(SEEK, [address, [15.3, 2.1, 18.9]])
        await page.close()
    assert found == [20.014, 20.014, 15.3, 2.1, 18.9]
