"""Rights, tokens, users, and sealed messages, which only their two ends can read.

Owns the key and all that is derived from it. Never knows HTTP, MQTT or media: it takes texts and returns decisions.
"""
