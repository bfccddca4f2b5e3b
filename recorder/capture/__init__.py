"""From a producer's packets to recorded units: the tap in the event loop, and the recorder's thread.

Owns the queue between the two, the order of the steps for each producer (a pipeline), and the seconds kept before an
event. Never delays the event loop or viewers, never decides who is recorded (`recorder.rules` does).

Along a packet's way: `tap` -> `thread` -> `pipeline` -> `assembly` -> `reorder`; `preroll` while nothing is recorded.
"""
