"""Recordings of producers as MP4 and WebM; not built yet (it comes as one more consumer of the relay)."""
