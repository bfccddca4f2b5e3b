"""One client's packets in: from decrypted datagrams to producers, and the feedback to the sender.

Owns what is known of each incoming stream: its latest packets, gaps, statistics and key frame requests. Never knows who
receives a stream, never sends anything except through the functions it is given, and never reads a clock. Along a
packet's way: `uplink` -> `demux` -> `track` -> `producer` -> `reception`, `gaps`, `history`; `starts` knows where a
decoder can start; `key_frame_requests` and `arrivals` make feedback; `output` is the way on to viewers.
"""
