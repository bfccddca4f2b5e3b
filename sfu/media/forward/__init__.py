"""Producers to consumers: each packet is rewritten once for many viewers and sent in batches.

Owns who is fed by a producer, each viewer's own numbering, instant start from the history, and retransmission. Never
chooses what a viewer sees (`adapt` and the rooms do), never decodes, never waits for a slow viewer. Along a packet's
way: `fanout` -> `branch` -> `consumer` or `group` (many consumers, same bytes) -> `stretch`; `replay` starts a new
viewer, `retransmission` limits what it may get again.
"""
