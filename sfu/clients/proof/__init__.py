"""The proof of a peer: a token that is shown, or one that seals its messages, and where it comes from.

Owns what is sealed, numbered and believed on a leaf. Never knows sessions, media or the broker.
"""
