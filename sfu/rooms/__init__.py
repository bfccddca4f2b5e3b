"""Rooms and participants: sessions, the tracks that peers send, and the track in each viewer's slots.

Owns the answer to every signalling message, and how a session ends. Never touches sockets, SRTP, packets or MQTT.
Along an offer's way: `server` -> `participant` (its transport, uplink and downlink) -> `room` -> `slots` and `senders`
(the rules, pure) -> `publication` (events and retained state). `admission` and `bitrates` are limits, `status` is
the JSON of `/api/rooms`.
"""
