"""Session descriptions (RFC 8866; offer and answer as in RFC 3264 and RFC 8829). Pure.

Owns SDP text in both directions, the codecs as payload formats, and the decisions of an answer. Never knows sockets,
rooms or the contents of a packet. In reading order: `codec` (a payload format), `description` (descriptions as values),
`dialects` (the lines of peers' text), `formats` (a section's codecs), `parse` (text to values), `negotiate` (offer to
decisions), `write` (values to text).
"""
