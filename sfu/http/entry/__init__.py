"""The entry of the HTTP server: rules by route, credentials of requests, login and logout.

Never knows what a handler answers: it finds the room of a request in its address.
"""
