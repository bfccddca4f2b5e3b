"""RTP media times and sender reports -> one wall clock for all tracks of a producer.

Owns when each unit was captured, in microseconds of UTC. Never reads a clock: all times come in as arguments. Never
knows what is in a unit.

Along a unit's way: `placement` (holds the first units until the tracks are synchronized) -> `timeline` -> `clocks`.
"""
