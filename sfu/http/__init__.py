"""The page and the HTTP resources around it.

Owns the listening socket and the routes (`server`), the bundled page (`assets`, `build`), security headers, JSON errors
(`answers`) and the WebSocket proxy to the broker (`broker_proxy`). Never touches media or rooms: callables in the
constructor give the values to show.
"""
