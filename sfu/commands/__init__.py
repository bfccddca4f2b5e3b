"""Commands about access: tokens, links, users, and the broker's own rules.

Owns their options, their texts and their exit codes. Never serves anything.
"""
