"""Recordings of producers as MP4 and WebM. The recorder is one more consumer of the relay.

Owns everything from a producer's packets to files, their playback and their deletion. Never decodes or encodes video to
record it, never delays viewers. `sfu` knows it in `sfu.service` and nothing here knows `sfu.rooms`.

The way of one recorded frame, file by file:
  capture.tap            packets, from the event loop into a bounded queue
  capture.thread         the recorder's thread empties the queues
  capture.pipeline       one producer's steps in order
  capture.assembly       packets -> units, with capture.reorder, depacketize, timeline.placement
  timeline.timeline      media time -> wall time, with timeline.clocks
  capture.preroll        the last seconds, while nothing is recorded
  segments.recording     which unit goes into which segment (pure)
  segments.writer        the open segment, with segments.muxer, fragments, opus
  segments.files         appends to the locked file

Around it:
  manager rules          who is recorded; events of recordings
  store                  names and contents of the files: the directory is the database
  upkeep                 repair after a crash, deletion by age, size and free space
  playback               listing, playlists, exports, pictures of recordings
  snapshots api          the latest picture of a camera; HTTP
  cli serve remote       the console script; a recorder on a machine of its own
"""
