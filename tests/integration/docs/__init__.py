"""The documents that describe mqtt-sfu to machines, held against a running server."""
