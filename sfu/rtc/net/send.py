"""The calls to C on the way out: one burst of packets to many transports, in few steps of the interpreter.

Owns the arena that packets are encrypted in and the message headers that the kernel reads. A burst goes through four
steps, each done for all transports at once: copied side by side into the arena, encrypted there by `map` over libsrtp,
described in `mmsghdr`s by slices, and sent by one `sendmmsg`. For few transports the same is done packet by packet.
Never waits: datagrams that the kernel does not take are counted and lost. All memory that C knows by its address is
referenced here until the call that reads it has returned.
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sfu.rtc.net.burst import MAX_SEGMENTS, SLOT_WIDTHS_BYTES, ArenaLayout, Burst, GsoRun, slot_width
from sfu.rtc.net.linux import IOVEC, LINUX_64, MMSGHDR, SOL_UDP, UDP_SEGMENT, sendmmsg
from sfu.rtc.net.paths import Path, Targets
from sfu.rtc.net.srtp import ffi, srtp_protect

_SLOTS: Final = 256
"""Packets that the arena holds: a third of a megabyte, so that sendmmsg finds them in the second level cache."""
_MESSAGES: Final = _SLOTS
"""Messages that may be queued: at worst each packet is one."""
FEW_PACKETS: Final = 32
"""Up to so many packets, of all transports together, are written one by one. The steps for all at once use more code
and tables, and in a process that sleeps between two bursts the first use of each waits for memory."""
_CMSG: Final = struct.Struct("=QiiH6x")
"""A cmsghdr with one 16-bit value, padded to its alignment: the segment size."""
_REFUSES_SEGMENTS: Final = (errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP)
"""Errors of sendmmsg after which the packets of a message are sent one by one."""

# An mmsghdr as words of 8 bytes: how many it has, and the positions of the fields that differ between messages.
_WORDS: Final = MMSGHDR.size // 8
_NAME, _VECTOR, _VECTORS, _CONTROL, _CONTROL_LENGTH = 0, 2, 3, 4, 5


class Egress:
    """The sender of one socket: encrypts bursts and queues them until `flush`.

    Packets of one burst to one transport that have one size (the last may be shorter) become one message with
    `UDP_SEGMENT`, which crosses the kernel's IP stack once; messages of all transports leave in one `sendmmsg`. Without
    that call (macOS), or for messages whose segments the kernel refuses, each packet leaves by its own `sendto`.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sent = 0
        """Datagrams that the kernel took."""
        self.refused: dict[str, int] = {}
        """Datagrams that it did not take, by errno name."""
        self.segmented = _segments_supported(sock)
        """True if bursts leave as GSO segments; becomes False when a device refuses them."""
        self._socket = sock
        self._arena = ffi.new("unsigned char[]", _SLOTS * SLOT_WIDTHS_BYTES[-1])
        self._view = memoryview(ffi.buffer(self._arena))
        self._grids: dict[int, list[Any]] = {}
        """The address of each slot, by width of the slots."""
        self._lengths = ffi.new("int[]", _SLOTS)
        self._lengths_view = memoryview(ffi.buffer(self._lengths)).cast("B").cast("i")
        self._lengths_at = [self._lengths + slot for slot in range(_SLOTS)]
        self._used = 0
        self._allocate_headers()
        self._set_width(SLOT_WIDTHS_BYTES[-1])
        self._controls: dict[int, tuple[Any, int]] = {}
        self._queued: list[tuple[int, Targets, int, int]] = []
        """Runs of messages: number of the first message, targets (the kernel reads their names), position of the first
        target, messages for each target."""
        self._queued_messages = self._queued_packets = 0
        self._described_first: tuple[array[int], int, int, ArenaLayout] | None = None
        """The (names, position, count, layout) that the headers from the first message on describe. Most passes have
        the same, and then the headers are not written again."""

    def _allocate_headers(self) -> None:
        """Makes the message headers and the vectors; vector n belongs to slot n."""
        self._vectors = bytearray(IOVEC.size * _SLOTS)
        fields = memoryview(self._vectors).cast("Q")
        self._vector_bases, self._vector_lengths = fields[::2], fields[1::2]
        self._name_length = 28 if self._socket.family == socket.AF_INET6 else 16
        self._messages = bytearray(MMSGHDR.pack(0, self._name_length, 0, 0, 0, 0, 0, 0) * _MESSAGES)
        self._messages_view = memoryview(self._messages)
        self._words = self._messages_view.cast("Q")
        self._messages_at = ffi.from_buffer(self._messages)
        self._vectors_pinned = ffi.from_buffer(self._vectors)  # keeps the buffer from being resized
        self._vectors_at = int(ffi.cast("uintptr_t", self._vectors_pinned))
        self._vectors_from = array("Q", range(self._vectors_at, self._vectors_at + IOVEC.size * _SLOTS, IOVEC.size))
        self._arena_at = int(ffi.cast("uintptr_t", self._arena))

    def _set_width(self, width: int) -> None:
        """Divides the arena into slots of `width` bytes. Only while no message is queued."""
        self._width = width
        places = self._grids.get(width)
        if places is None:
            places = self._grids[width] = [self._arena + slot * width for slot in range(_SLOTS)]
        self._places = places
        self._vector_bases[:] = array("Q", range(self._arena_at, self._arena_at + _SLOTS * width, width))

    def write(self, targets: Targets, burst: Burst) -> dict[int, int]:
        """Encrypts a burst for every target and queues it.

        Returns the number of packets that libsrtp refused, by position of the target; only targets with any.
        """
        if len(burst.packets) * len(targets.paths) <= FEW_PACKETS:
            return self._write_few(targets, burst)
        layout = burst.layout(targets.overhead, segmented=self.segmented)
        each = len(layout.messages)
        failed: dict[int, int] = {}
        if layout.width != self._width:
            self.flush()
            self._set_width(layout.width)
        at, total = 0, len(targets.paths) if layout.count else 0
        while at < total:
            room = (_SLOTS - self._used) // layout.count
            if not room or self._queued_messages + each > _MESSAGES:
                self.flush()
                continue
            count = min(room, total - at, (_MESSAGES - self._queued_messages) // each)
            codes = self._encrypt(targets.handles[at : at + count], burst.packets, layout)
            if any(codes):
                failed |= self._send_good(targets.paths[at : at + count], layout, codes, at)
            else:
                self._queue(targets, at, count, layout)
            at += count
        return failed

    def _write_few(self, targets: Targets, burst: Burst) -> dict[int, int]:
        """Does as `write`, packet by packet. The slot of a refused packet is used for the next one."""
        packets, overhead = burst.packets, targets.overhead
        failed: dict[int, int] = {}
        needed = len(packets) * len(targets.paths)
        if self._used + needed > _SLOTS or self._queued_messages + needed > _MESSAGES:
            self.flush()
        if burst.longest + overhead > self._width:
            self.flush()
            self._set_width(slot_width(burst.longest + overhead))
        protect, view, width, most = srtp_protect, self._view, self._width, MAX_SEGMENTS if self.segmented else 1
        places, sizes, sizes_at = self._places, self._lengths_view, self._lengths_at
        vector_lengths = self._vector_lengths
        slot = self._used
        for position, handle in enumerate(targets.handles):
            first, segment, last = slot, 0, 0
            for packet in packets:
                size = len(packet)
                start = slot * width
                view[start : start + size] = packet
                sizes[slot] = size
                if protect(handle, places[slot], sizes_at[slot]):
                    failed[position] = failed.get(position, 0) + 1
                    continue
                length = size + overhead
                if slot > first and (length > segment or last < segment or slot - first == most):
                    self._queue_one(targets, position, first, slot - first, segment)
                    first = slot
                if slot == first:
                    segment = length
                vector_lengths[slot] = last = length
                slot += 1
            if slot > first:
                self._queue_one(targets, position, first, slot - first, segment)
        self._used = slot
        return failed

    def _queue_one(self, targets: Targets, position: int, first: int, count: int, segment: int) -> None:
        """Queues one message: the packets in `count` slots from `first` on."""
        words, at = self._words, self._queued_messages * _WORDS
        words[at + _NAME] = targets.names[position]
        words[at + _VECTOR] = self._vectors_at + first * IOVEC.size
        words[at + _VECTORS] = count
        words[at + _CONTROL], words[at + _CONTROL_LENGTH] = self._control(segment) if count > 1 else (0, 0)
        self._described_first = None
        self._queued.append((self._queued_messages, targets, position, 1))
        self._queued_messages += 1
        self._queued_packets += count

    def _encrypt(self, handles: list[Any], packets: Sequence[bytes], layout: ArenaLayout) -> list[int]:
        """Copies the burst for each handle and encrypts it in place; returns libsrtp's status of each packet."""
        count = len(handles)
        first, last = self._used, self._used + count * layout.count
        self._used = last
        self._fill(first * self._width, packets, count)
        self._lengths_view[first:last] = layout.sizes * count
        each: Iterable[Any] = handles
        if layout.count > 1:
            each = itertools.chain.from_iterable(map(itertools.repeat, handles, itertools.repeat(layout.count)))
        # `map` calls libsrtp for each packet without a step of the interpreter.
        places, lengths = itertools.islice(self._places, first, None), itertools.islice(self._lengths_at, first, None)
        return list(map(srtp_protect, each, places, lengths))

    def _fill(self, start: int, packets: Sequence[bytes], count: int) -> None:
        """Writes `count` copies of the burst side by side, each step doubling them: few steps of the interpreter."""
        view, width = self._view, self._width
        for at, packet in enumerate(packets):
            view[start + at * width : start + at * width + len(packet)] = packet
        done = len(packets) * width
        total = done * count
        while done < total:
            step = min(done, total - done)
            view[start + done : start + done + step] = view[start : start + step]
            done += step

    def _queue(self, targets: Targets, at: int, count: int, layout: ArenaLayout) -> None:
        """Queues the packets that were encrypted last, of `count` targets from `at` on."""
        last, message, each = self._used, self._queued_messages, len(layout.messages)
        first = last - count * layout.count
        self._vector_lengths[first:last] = layout.lengths * count
        described = (targets.names, at, count, layout)
        if first or described != self._described_first:
            self._describe(targets.names[at : at + count], first, layout)
        if not first:
            self._described_first = described
        self._queued.append((message, targets, at, each))
        self._queued_messages = message + count * each
        self._queued_packets += count * layout.count

    def _describe(self, names: array[int], first: int, layout: ArenaLayout) -> None:
        """Writes the headers of the next messages: those of `layout` for each of `names`, slots from `first` on."""
        message, messages, each = self._queued_messages, layout.messages, len(layout.messages)
        last, end = first + len(names) * layout.count, message + len(names) * each
        head = self._head(messages[0]) if each == 1 else b"".join([self._head(segments) for segments in messages])
        self._messages_view[message * MMSGHDR.size : end * MMSGHDR.size] = head * len(names)
        for number, segments in enumerate(messages, start=message):
            self._words[number * _WORDS + _NAME : end * _WORDS : each * _WORDS] = names
            vectors = self._vectors_from[first + segments.first : last : layout.count]
            self._words[number * _WORDS + _VECTOR : end * _WORDS : each * _WORDS] = vectors

    def _head(self, segments: GsoRun) -> bytes:
        """Returns a message header without the fields that differ between targets."""
        control, control_length = self._control(segments.segment) if segments.packets > 1 else (0, 0)
        return MMSGHDR.pack(0, self._name_length, 0, segments.packets, control, control_length, 0, 0)

    def _control(self, segment: int) -> tuple[int, int]:
        """Returns address and length of the control message with this segment size; made once for each size."""
        known = self._controls.get(segment)
        if known is None:
            buffer = ffi.new("unsigned char[]", _CMSG.pack(_CMSG.size - 6, SOL_UDP, UDP_SEGMENT, segment))
            known = self._controls[segment] = (buffer, int(ffi.cast("uintptr_t", buffer)))
        return known[1], _CMSG.size

    def flush(self) -> None:
        """Sends the queued messages. Those that the kernel does not take at once are counted and lost."""
        queued, done = self._queued_messages, 0
        if not LINUX_64:
            for message in range(queued):
                self._send_singly(message)
            done = queued
        while done < queued:
            first = self._messages_at + done * MMSGHDR.size
            taken = sendmmsg(self._socket.fileno(), first, queued - done, socket.MSG_DONTWAIT)
            if taken > 0:
                done += taken
            else:
                self._on_error(ffi.errno, done)
                done += 1
        self.sent += self._queued_packets
        self._queued.clear()
        self._used = self._queued_messages = self._queued_packets = 0

    def _on_error(self, number: int, message: int) -> None:
        """Handles the message that sendmmsg refused: counts it, or sends its packets one by one.

        A path whose MTU is below the segment size, or a network device, may refuse segments and nothing else.
        """
        count = self._words[message * _WORDS + _VECTORS]
        if count > 1 and number in _REFUSES_SEGMENTS:
            if number in (errno.EIO, errno.EOPNOTSUPP):
                self.segmented = False
            self._send_singly(message)
        else:
            self._refuse(number, count)

    def _send_singly(self, message: int) -> None:
        run = next(run for run in reversed(self._queued) if run[0] <= message)
        number, targets, position, each = run
        path = targets.paths[position + (message - number) // each]
        start = message * _WORDS
        first = (self._words[start + _VECTOR] - self._vectors_at) // IOVEC.size
        for slot in range(first, first + self._words[start + _VECTORS]):
            self._send_slot(slot, self._vector_lengths[slot], path)

    def _send_good(self, paths: list[Path], layout: ArenaLayout, codes: list[int], at: int) -> dict[int, int]:
        """Sends the packets of the last slots that libsrtp did not refuse, one by one; returns as `write`."""
        first = self._used - len(codes)
        self.flush()  # earlier packets first, to keep their order
        failed: dict[int, int] = {}
        for number, code in enumerate(codes):
            target, position = divmod(number, layout.count)
            if code:
                failed[at + target] = failed.get(at + target, 0) + 1
            else:
                self._send_slot(first + number, layout.lengths[position], paths[target])
                self.sent += 1
        return failed

    def _send_slot(self, slot: int, length: int, path: Path) -> None:
        try:
            self._socket.sendto(self._view[slot * self._width : slot * self._width + length], path.address)
        except OSError as error:
            self._refuse(error.errno or 0, 1)

    def _refuse(self, number: int, count: int) -> None:
        name = errno.errorcode.get(number, str(number))
        self.refused[name] = self.refused.get(name, 0) + count
        self.sent -= count


def _segments_supported(sock: socket.socket) -> bool:
    """Returns True if the kernel takes `UDP_SEGMENT` (4.18 and later)."""
    if not LINUX_64:
        return False
    try:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, 0)  # 0: no size for the socket, each message brings its own
    except OSError:
        return False
    return True
