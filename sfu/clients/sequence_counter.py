"""Loss, reordering and duplication of a stream, from its RTP sequence numbers.

Pure. Owns bounded memory, however long it runs.
"""

from __future__ import annotations

from array import array

from sfu.media.formats.rtp import sequence_delta

_TRACKED = 2048
"""Latest sequence numbers that are remembered, to recognise duplicates."""


class SequenceCounter:
    """Counts of one stream's packets by sequence number: received, lost, reordered and duplicated.

    Late and repeated packets are distinguished among the last 2048 numbers.
    """

    def __init__(self) -> None:
        self.received = 0
        self.reordered = 0
        self.duplicated = 0
        self._expected_before = 0
        self._first = self._highest = -1
        self._seen = array("q", [-1]) * _TRACKED

    def restart(self) -> None:
        """Starts a new session: numbers may start anywhere, the counts go on."""
        self._expected_before = self._expected
        self._first = self._highest = -1
        self._seen = array("q", [-1]) * _TRACKED

    def add(self, sequence: int) -> bool:
        """Counts a packet; returns False for a duplicate."""
        if self._highest < 0:
            # above 0, so that packets which this one overtook have positive numbers too
            self._first = self._highest = extended = sequence + 0x10000
        else:
            extended = self._highest + sequence_delta(sequence, self._highest & 0xFFFF)
        if self._seen[extended % _TRACKED] == extended:
            self.duplicated += 1
            return False
        self._seen[extended % _TRACKED] = extended
        self.received += 1
        self.reordered += extended < self._highest
        self._first, self._highest = min(self._first, extended), max(self._highest, extended)
        return True

    def add_burst(self, sequences: array[int]) -> None:
        """Counts many packets at once; cheap while their numbers are consecutive."""
        following, count = self._highest + 1, len(sequences)
        low, at = following & 0xFFFF, following % _TRACKED
        in_order = self._highest >= 0 and sequences.tolist() == list(range(low, low + count))
        if in_order and at + count <= _TRACKED:
            self._seen[at : at + count] = array("q", range(following, following + count))
            self._highest += count
            self.received += count
            return
        for sequence in sequences:
            self.add(sequence)

    @property
    def highest(self) -> int:
        """Returns the extended highest sequence number (RFC 3550 section 6.4.1); -1 before the first."""
        return self._highest

    @property
    def lost(self) -> int:
        """Returns how many numbers between the first and the highest of each session were not received."""
        return self._expected - self.received

    @property
    def _expected(self) -> int:
        running = self._highest - self._first + 1 if self._highest >= 0 else 0
        return self._expected_before + running
