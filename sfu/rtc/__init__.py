"""One peer's connection: SDP, the one UDP port, ICE, DTLS, SRTP.

Owns everything between a peer's session description and decrypted RTP and RTCP packets, in both directions. Never knows
rooms, topics or the contents of a packet. In reading order:
`sdp`        offers and answers: text to values, decisions, values to text
`net`        the UDP port: datagrams in and out, many in one system call; SRTP in place
`ice`        one agent for each peer: proves its addresses and selects the path
`transport`  one peer's ICE, DTLS and SRTP, put together
"""
