"""Client peers: cameras and viewers without a screen that speak the same protocol as any other client.

Owns `sfu publish` and `sfu view`. Never reaches into the server: peers know it from the broker and the transport only.

    peer                  a client that stays connected
    attempt               one session, from offer to end
    publish               `sfu publish`: sends a source's frames at their time
    outgoing              one outgoing RTP stream and its sender reports (pure)
    view                  `sfu view`: receives and measures
    slot_stats            statistics of one slot (pure)
    sequence_counter      lost, reordered and duplicated packets (pure)
    histogram             quantiles of durations (pure)
    source                files, RTSP cameras and devices, read by PyAV in a thread
    inputs                  opening inputs; the media time of live ones
    input_tracks          one track of an input: passed through, or encoded once
    frame_queue           frames from the thread to asyncio
    pattern               generated test cameras
    encode                H.264 and Opus encoders
    frames                the values that a source yields (pure)
    packetize             frames to RTP payloads (pure)
"""
