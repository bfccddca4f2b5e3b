"""Recordings of producers as MP4 and WebM: the map of the house. One more consumer of the relay, which never notices.

cli serve remote               by hand; on a machine of its own, as a viewer of a server's rooms
terms duties manager           settings, modes and words -> who is recorded, and what is told of it
tap                            a producer's packets into a bounded queue
worker reel                    the recorder's thread: from the queue to the files, a reel for each producer
reorder assembly               packets in order -> units at their wall times
depacketize units preroll      packets -> whole frames; those of the last seconds
placement timeline clocks      RTP times and sender reports -> one wall clock for a producer
recording actions              what goes into which segment (pure)
segments writer muxer files     segments whose parts play once they are on disk
fragments opus                 what of them FFmpeg does not write; telephone sound as Opus
store index layout mp4 webm    the directory is the database: names <-> room, peer, start; where parts begin
keeper repair cleaner          after a crash; by age, bytes and free space
reader export clip             a span as one file, in a process of its own if need be
playback listing layouts hls picture  what there is of a time, playlists of it, pictures from it
snapshots                      what a camera shows now
cli                            the console script
"""
