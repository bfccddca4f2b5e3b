"""RTP and RTCP from producers to consumers, packet by packet. Never decodes, never awaits, never raises."""
