"""A selective forwarding unit (SFU) whose signalling goes over any MQTT broker.

Imports point down this list. The docstring of each folder has what it owns and what it never does.

    cli runner            the commands, and the event loop under them
    demo                  broker, server, cameras and page from one command
    service               makes, starts, supervises and ends all parts
    inbox bridge          messages from the broker to the parts; messages of the parts to the broker
    metrics               counters in Prometheus' format
    loadtest/ clients/    synthetic and real cameras and viewers, which know the server from outside only
    http/                 the page, the WebSocket proxy to the broker, health
    rooms/                participants, their producers, and the track in each slot
    media/                packets: from one producer to its consumers
    rtc/                  SDP, the UDP port, ICE, DTLS, SRTP
    signaling/            topics, messages, the broker link, the embedded broker
    settings units        all settings; durations, bit rates and times as text
"""
