"""RTP and RTCP from producers to consumers, packet by packet.

Owns each step between a decrypted incoming packet and the bytes that leave for each viewer. Never decodes or encodes
media, never awaits, never raises on remote bytes, and never knows rooms, topics or the broker. Along a packet's way:
`formats`   packets and codec headers: bytes to values and back
`ingest`    one client's packets in: producers, and the feedback to them
`forward`   producers to consumers: numbering, sharing, sending again
`adapt`     one client's slots: what its link carries, and which layer it gets
`token_bucket` and `windowed_minimum` are arithmetic that several of these share.
"""
