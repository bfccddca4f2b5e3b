"""ICE agents (RFC 8445), one for each peer, all on the shared UDP port.

Owns which remote addresses are proven, which path is selected, and when a silent peer is given up. Never knows DTLS,
SRTP or the meaning of a datagram. In reading order: `agent` (the parts that all agents share), `lite` (answers checks),
`question` (is anybody there?), `full` (gathers and checks), `aioice_agent` (aioice on our port), `candidates` (the
remote candidates that get a check), `factory` (a lite or a full agent?).
"""
