"""A bad network on loopback: a relay between clients and a server that loses, delays, reorders and throttles packets.

Owns what a link does to packets (`link`, pure), the process that carries them (`wire`) and its handle (`relay`). Never
looks into media: a client's first STUN check tells which of its addresses are one client's, nothing more.
"""
