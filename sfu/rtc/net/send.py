"""The seam to C on the way out: one burst of packets to many transports, in few steps of the interpreter.

Owns the arena that packets are encrypted in and the headers that tell the kernel of them. A burst goes through four
steps, each done for all transports at once: copied side by side into the arena, encrypted there by `map` over libsrtp,
described in `mmsghdr`s by slices, and sent by one `sendmmsg`. For few transports the same is done packet by packet.
Never waits: what the kernel does not take is counted and gone. All that C is shown by address is referenced here until
the call that reads it has returned.
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

import cffi
from pylibsrtp import _binding as _srtp

from sfu.rtc.net.burst import MAX_SEGMENTS, WIDTHS, ArenaLayout, Burst, GsoRun, slot_width
from sfu.rtc.net.linux import IOVEC, LINUX_64, MMSGHDR, SOL_UDP, UDP_SEGMENT
from sfu.rtc.net.paths import Path, Targets

_SLOTS: Final = 256  # a third of a megabyte, so that sendmmsg reads what is still in the second level cache
_MESSAGES: Final = _SLOTS
_FEW: Final = 32
"""Packets, all transports' together, up to which the plain way costs less: the steps for all at once are of many kinds,
and in a process that sleeps between two bursts each kind's first use waits for memory, not for the processor."""
_CMSG: Final = struct.Struct("=QiiH6x")  # cmsghdr with one 16-bit value, padded to its alignment
_REFUSES_SEGMENTS: Final = (errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP)

# The fields of an mmsghdr, all of them 8 bytes wide with their padding, that differ between messages.
_WORDS: Final = MMSGHDR.size // 8
_NAME, _VECTOR, _VECTORS, _CONTROL, _CONTROL_LENGTH = 0, 2, 3, 4, 5

_ffi = cffi.FFI()
_ffi.cdef(
    """
    struct mmsghdr;
    int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);
    """
)
_libc = _ffi.dlopen(None)
_LINUX_64: Final = LINUX_64 and hasattr(_libc, "sendmmsg")


class Egress:
    """Datagrams of one socket on their way out.

    Packets of one burst to one transport that have one size (the last may be shorter) become one message with
    `UDP_SEGMENT`, which crosses the kernel's IP stack once; messages of all transports leave in one `sendmmsg`. Without
    that call (macOS) or where the kernel refuses segments, one `sendto` a packet.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sent = 0
        """Datagrams the kernel took."""
        self.refused: dict[str, int] = {}
        """Datagrams it did not take, by errno name."""
        self.segmented = _segments_supported(sock)
        """Whether bursts leave as GSO segments; turned off when a device refuses them."""
        self._socket = sock
        self._arena = _srtp.ffi.new("unsigned char[]", _SLOTS * WIDTHS[-1])
        self._view = memoryview(_srtp.ffi.buffer(self._arena))
        self._grids: dict[int, list[Any]] = {}
        self._lengths = _srtp.ffi.new("int[]", _SLOTS)
        self._lengths_view = memoryview(_srtp.ffi.buffer(self._lengths)).cast("B").cast("i")
        self._lengths_at = [self._lengths + slot for slot in range(_SLOTS)]
        self._used = 0
        self._allocate_headers()
        self._set_width(WIDTHS[-1])
        self._controls: dict[int, tuple[Any, int]] = {}
        self._queued: list[tuple[int, Targets, int, int]] = []
        """Runs of messages: number of the first, targets (the kernel reads their names), position of the first target,
        messages for each."""
        self._queued_messages = self._queued_packets = 0
        self._described_first: tuple[array[int], int, int, ArenaLayout] | None = None
        """What the first messages' headers say: mostly the same in each pass, and then they are not written again."""

    def _allocate_headers(self) -> None:
        """Slot n has vector n."""
        self._vectors = bytearray(IOVEC.size * _SLOTS)
        fields = memoryview(self._vectors).cast("Q")
        self._vector_bases, self._vector_lengths = fields[::2], fields[1::2]
        self._name_length = 28 if self._socket.family == socket.AF_INET6 else 16
        self._messages = bytearray(MMSGHDR.pack(0, self._name_length, 0, 0, 0, 0, 0, 0) * _MESSAGES)
        self._messages_view = memoryview(self._messages)
        self._words = self._messages_view.cast("Q")
        self._messages_c = _ffi.from_buffer(self._messages)
        self._messages_p = _ffi.cast("struct mmsghdr *", self._messages_c)
        self._vectors_at = int(_ffi.cast("uintptr_t", _ffi.from_buffer(self._vectors)))
        self._vectors_from = array("Q", range(self._vectors_at, self._vectors_at + IOVEC.size * _SLOTS, IOVEC.size))
        self._arena_at = int(_srtp.ffi.cast("uintptr_t", self._arena))

    def _set_width(self, width: int) -> None:
        """Parts the arena in slots of `width` bytes. Nothing may be queued."""
        self._width = width
        places = self._grids.get(width)
        if places is None:
            places = self._grids[width] = [self._arena + slot * width for slot in range(_SLOTS)]
        self._places = places
        self._vector_bases[:] = array("Q", range(self._arena_at, self._arena_at + _SLOTS * width, width))

    def write(self, targets: Targets, burst: Burst) -> dict[int, int]:
        """Encrypts a burst for every target and queues it.

        Returns how many packets libsrtp refused, by position of the target, where it refused any.
        """
        if len(burst.packets) * len(targets.paths) <= _FEW:
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
        """As `write`, packet by packet. What is refused leaves no trace: the next packet takes its slot."""
        packets, overhead = burst.packets, targets.overhead
        failed: dict[int, int] = {}
        needed = len(packets) * len(targets.paths)
        if self._used + needed > _SLOTS or self._queued_messages + needed > _MESSAGES:
            self.flush()
        if burst.longest + overhead > self._width:
            self.flush()
            self._set_width(slot_width(burst.longest + overhead))
        protect, view, width, most = (
            _srtp.lib.srtp_protect,
            self._view,
            self._width,
            MAX_SEGMENTS if self.segmented else 1,
        )
        places, sizes, sizes_at, vector_lengths = (
            self._places,
            self._lengths_view,
            self._lengths_at,
            self._vector_lengths,
        )
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
        """One message: the packets in `count` slots from `first` on."""
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
        """One copy of the burst in plain text for each handle, encrypted in place; libsrtp's status of each packet."""
        count = len(handles)
        first, last = self._used, self._used + count * layout.count
        self._used = last
        self._fill(first * self._width, packets, count)
        self._lengths_view[first:last] = layout.sizes * count
        each: Iterable[Any] = handles
        if layout.count > 1:
            each = itertools.chain.from_iterable(map(itertools.repeat, handles, itertools.repeat(layout.count)))
        # `map` goes from packet to packet without a step of the interpreter.
        places, lengths = itertools.islice(self._places, first, None), itertools.islice(self._lengths_at, first, None)
        return list(map(_srtp.lib.srtp_protect, each, places, lengths))

    def _fill(self, start: int, packets: Sequence[bytes], count: int) -> None:
        """`count` copies of the burst side by side, by copies that double: no step of the interpreter for each."""
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
        """Describes what was encrypted last, for `count` targets from `at` on: so many messages for each."""
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
        """Writes the headers of the next messages, for each of `names` those of `layout`, slots from `first` on."""
        message, messages, each = self._queued_messages, layout.messages, len(layout.messages)
        last, end = first + len(names) * layout.count, message + len(names) * each
        head = self._head(messages[0]) if each == 1 else b"".join([self._head(segments) for segments in messages])
        self._messages_view[message * MMSGHDR.size : end * MMSGHDR.size] = head * len(names)
        for number, segments in enumerate(messages, start=message):
            self._words[number * _WORDS + _NAME : end * _WORDS : each * _WORDS] = names
            vectors = self._vectors_from[first + segments.first : last : layout.count]
            self._words[number * _WORDS + _VECTOR : end * _WORDS : each * _WORDS] = vectors

    def _head(self, segments: GsoRun) -> bytes:
        """What all targets' messages of these packets have in common."""
        control, control_length = self._control(segments.segment) if segments.packets > 1 else (0, 0)
        return MMSGHDR.pack(0, self._name_length, 0, segments.packets, control, control_length, 0, 0)

    def _control(self, segment: int) -> tuple[int, int]:
        """Address and length of the control message that says `segment`; made once for each size."""
        known = self._controls.get(segment)
        if known is None:
            buffer = _ffi.new("unsigned char[]", _CMSG.pack(_CMSG.size - 6, SOL_UDP, UDP_SEGMENT, segment))
            known = self._controls[segment] = (buffer, int(_ffi.cast("uintptr_t", buffer)))
        return known[1], _CMSG.size

    def flush(self) -> None:
        """Sends what is queued. What the kernel does not take at once is counted and gone: media does not wait."""
        queued, done = self._queued_messages, 0
        if not _LINUX_64:
            for message in range(queued):
                self._send_singly(message)
            done = queued
        while done < queued:
            pointer = self._messages_p
            if done:
                pointer = _ffi.cast("struct mmsghdr *", self._messages_c + done * MMSGHDR.size)
            taken = _libc.sendmmsg(self._socket.fileno(), pointer, queued - done, socket.MSG_DONTWAIT)
            if taken > 0:
                done += taken
            else:
                self._on_error(_ffi.errno, done)
                done += 1
        self.sent += self._queued_packets
        self._queued.clear()
        self._used = self._queued_messages = self._queued_packets = 0

    def _on_error(self, number: int, message: int) -> None:
        """What sendmmsg stopped at. A path whose MTU is below the segment, or a device, may refuse only segments."""
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
        """libsrtp refused something of the burst in the last slots: all else leaves now, packet by packet."""
        first = self._used - len(codes)
        self.flush()  # what came before, in this order
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
    if not _LINUX_64:
        return False
    try:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, 0)  # 0 leaves it to each message; kernels before 4.18 refuse
    except OSError:
        return False
    return True
