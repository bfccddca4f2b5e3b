"""The recordings on disk: file names, the index of durations, and where the parts of each file lie.

Owns the rule that the directory is the database: room, camera and start follow from a path, everything else from the
file. Reads MP4 and WebM by their structure, also while they grow or after a crash.

Never decodes media, and never writes or cuts a recording; `Store.delete` is the only change it makes to one.
"""
