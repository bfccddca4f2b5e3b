"""A selective forwarding unit that any MQTT broker can host: the map of the house.

Dependencies point down; each folder's docstring says what it owns and what it never does.

    cli settings service bridge metrics demo   wiring: start order, supervision, shutdown order
    http                        the page, the broker's WebSocket door, health, metrics
    peers                       clients of our own: publish, view, load
    rooms                       who is in, what they produce, which slot shows what
    media                       packets: producer -> consumers
    rtc                         SDP, the UDP port, ICE, DTLS, SRTP
    signaling                   topics, messages, the broker link (used by rooms, peers, http)
"""
