"""Signalling over MQTT: topic grammar, message format, the link to the broker. Never knows WebRTC or rooms."""
