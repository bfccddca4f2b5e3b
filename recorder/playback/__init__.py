"""Answers to "what was recorded, and when": listings, HLS playlists, clips and thumbnails.

Owns the queries by room, camera and time, and the JSON of their answers. Nothing is encoded again, except the JPEG of a
thumbnail.

Never changes a recording. Never runs in the event loop: queries are called in threads, clips are made in a process.
"""
