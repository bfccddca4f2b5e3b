"""The door for browsers at `/mqtt`: a small MQTT 3.1.1 server in the server itself.

`packets` reads and writes MQTT, `board` has all that may be read, `rules` says who may, `connection` is one client,
`door` lets clients in, and `newcomers` keeps places for those that have said nothing yet. Never knows rooms: what a
client says goes to a callable.
"""
