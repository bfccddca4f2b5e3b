"""Client peers of our own: cameras and headless viewers that speak the contract like anybody else.

Never reaches into the server: all they know of it comes over the broker and the transport.

    client attempt             on a leaf for as long as told; one session from offer to end
    publish outgoing           a source's frames, paced, as RTP with sender reports
    view figures               what arrives, in figures
    source tracks handover     inputs by PyAV, read in a thread, passed through or encoded once
    pattern encode             cameras made here
    frames packetize           the shapes of media between them (pure)
"""
