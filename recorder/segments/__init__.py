"""Units -> segment files that play even if their writer is killed.

Owns which unit goes into which segment, the containers, and the files that grow. Never knows RTP, never reads a clock,
never deletes a finished segment (`recorder.upkeep` does).

Along a unit's way: `recording` decides (pure) -> `writer` has the open file and syncs it -> `muxer` turns units into
bytes, with `fragments` for MP4 and `opus` for telephone audio -> `files` appends, syncs and locks. The muxer is apart
from the writer because it never touches the disk, and exports use its containers too.
"""
