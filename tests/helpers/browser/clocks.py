"""Pictures with a clock in them: how old a picture on the screen is can be read from the picture.

Wall time in ms modulo 2^20, a column of two blocks for each bit: one for the bit, one below for its opposite, so that a
broken picture does not read as a time. Drawn by a page's canvas or by a camera of ours, read by a page.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import av

from sfu.clients.encode import VideoEncoder
from sfu.clients.frames import Frame, SourceCounters, h264
from sfu.clients.publish import Camera

_BITS = 20
_RATE = 25
_WIDTH, _HEIGHT = 320, 176
_BLOCK = 12

# A canvas of 640x352 (or `lens`) whose texture drifts, as leaves and crowds do: the encoder needs the bits it gets.
CAMERA = """
navigator.mediaDevices.getUserMedia = async () => {
  const [width, height] = window.lens ?? [640, 352];
  const [wide, high] = [width * 0.0375, height * 24 / 352];
  const texture = new OffscreenCanvas(2 * width, height);
  const grain = texture.getContext('2d');
  const noise = grain.createImageData(2 * width, height);
  noise.data.forEach((_, i) => { noise.data[i] = i % 4 === 3 ? 255 : 96 + 64 * Math.random(); });
  grain.putImageData(noise, 0, 0);
  const canvas = Object.assign(document.createElement('canvas'), {width, height});
  const pen = canvas.getContext('2d');
  const draw = () => {
    const now = Date.now() % (1 << 20);
    pen.drawImage(texture, -(now / 8 % width), 0);
    for (let bit = 0; bit < 20; bit += 1) {
      const on = now >> bit & 1;
      pen.fillStyle = on ? 'white' : 'black';
      pen.fillRect(bit * wide, 0, wide, high);
      pen.fillStyle = on ? 'black' : 'white';
      pen.fillRect(bit * wide, high, wide, high);
    }
    requestAnimationFrame(draw);
  };
  draw();
  return canvas.captureStream(30);
};
"""

# [ms of performance.now(), age in ms or null when it cannot be read] of each picture shown in `selector`.
WATCH = """(selector) => {
  const video = document.querySelector(selector);
  const pen = new OffscreenCanvas(60, 6).getContext('2d', {willReadFrequently: true});
  window.ages = [];
  const age = () => {
    pen.drawImage(video, 0, 0, video.videoWidth * 0.75, video.videoHeight * 48 / 352, 0, 0, 60, 6);
    const {data} = pen.getImageData(0, 0, 60, 6);
    let then = 0;
    for (let bit = 0; bit < 20; bit += 1) {
      const contrast = data[4 * (60 + 3 * bit + 1)] - data[4 * (240 + 3 * bit + 1)];
      if (Math.abs(contrast) < 60) return null;
      if (contrast > 0) then += 1 << bit;
    }
    return (Date.now() - then + (1 << 20)) % (1 << 20);
  };
  const look = (now) => {
    window.ages.push([now, age()]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}"""


class Clock:
    """A live `Source` of a drawn clock: a key frame every `key_interval` seconds, deaf to requests for more."""

    live = True

    def __init__(self, *, key_interval: float = 4.0) -> None:
        self.codecs = (h264(),)
        self.counters = SourceCounters()
        self._encoder = VideoEncoder(_WIDTH, _HEIGHT, _RATE, key_interval=key_interval, preset="ultrafast")
        grain = random.Random(1).randbytes(2 * _WIDTH * _HEIGHT)
        self._texture = grain.translate(bytes(96 + level // 4 for level in range(256)))

    async def frames(self) -> AsyncIterator[Frame]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        number = 0
        while True:
            for seconds, data, key in self._encoder.encode(self._picture(number), number / _RATE):
                self.counters.frames += 1
                yield Frame(0, seconds, data, key)
            number += 1
            await asyncio.sleep(start + number / _RATE - loop.time())

    def request_key_frame(self) -> None:
        self.counters.requests_ignored += 1

    async def close(self) -> None:
        return

    def _picture(self, number: int) -> av.VideoFrame:
        frame = av.VideoFrame(_WIDTH, _HEIGHT, "yuv420p")
        now = int(time.time() * 1000)
        bits = [bytes([235 if now >> bit & 1 else 16]) for bit in range(_BITS)]
        above, below = (b"".join(bit * _BLOCK for bit in row) for row in (bits, [bytes([251 - b[0]]) for b in bits]))
        drift = 2 * number % _WIDTH
        rows = [self._texture[start : start + _WIDTH] for start in range(drift, drift + _WIDTH * _HEIGHT, _WIDTH)]
        for y in range(2 * _BLOCK):
            rows[y] = (above if y < _BLOCK else below) + rows[y][len(above) :]
        for plane, data in zip(frame.planes, (b"".join(rows), None, None), strict=True):
            plane.update(data or b"\x80" * plane.buffer_size)
        return frame


def deaf_camera(*, key_interval: float = 4.0) -> Camera:
    """An RTSP camera as far as viewers can tell: key frames when it pleases."""
    return Camera(Clock(key_interval=key_interval))
