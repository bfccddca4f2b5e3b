"""Worker processes of a load test: one runs all synthetic cameras, the other one all synthetic viewers.

Owns the peers, their sockets and their broker connections. Never computes results: it reports counts to the parent.

    worker                a child process that replies to requests over a pipe
    cameras               all cameras
    viewers viewer        all viewers; one viewer
    session               offer, answer and connection of one peer
    broker_connections    signaling of all peers of a process
    detachable_port       a UDP port that asyncio can stop reading
    datagram_batch        many datagrams read by one call
"""
