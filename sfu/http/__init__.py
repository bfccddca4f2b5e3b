"""The page and the HTTP resources around it.

Owns the routes (`server`), the listening sockets and their connections (`connections`), who may ask (`guard`, `names`,
`refusals`), the bundled page (`assets`, `build`), security headers, JSON errors (`answers`) and the door
for browsers (`door`). Never touches media or rooms: callables in the constructor give the values to show.
"""
