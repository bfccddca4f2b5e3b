"""Recordings of producers as MP4 and WebM: the map of the house. The tap that will feed its parts is not here yet.

store index layout mp4 webm    the directory is the database: names <-> room, peer, start; where parts begin
depacketize units preroll      packets -> whole frames; those of the last seconds
placement timeline clocks      RTP times and sender reports -> one wall clock for a producer
recording actions              what goes into which segment (pure)
muxer opus files writer        segments whose parts play once they are on disk
repair cleaner                 after a crash; by age, bytes and free space
reader export                  a span as one file
playback hls picture walltime  what there is of a time, playlists of it, pictures from it
"""
