"""Rooms and participants: who is in, what they produce, which slot shows what. Never touches sockets or SRTP."""
