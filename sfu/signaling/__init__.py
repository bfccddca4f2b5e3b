"""Signalling over MQTT: the topics, the messages, the link to a broker, and a broker of our own.

Owns the topic grammar (`topics`, `strays`), the JSON of messages (`messages` around `bodies`), the connection (`link`,
with `intake`, `send_queue`, `state_guard`, `unsaid`, `backoff`, `aiomqtt_client`, `tcp_options`, `broker_url`) and the
embedded broker. Never knows WebRTC, and never decides what happens in a room.
"""
