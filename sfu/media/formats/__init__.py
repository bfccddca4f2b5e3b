"""Wire formats of RTP, RTCP and codec headers: bytes to values and back. Pure functions and values.

Owns every byte layout that the media path reads or writes. Never keeps state between packets, never decodes media, and
never raises on remote bytes; only `bits` has an exception, which its callers catch.
`rtp`, `rtcp`, `rtx`, `transport_cc`                    packets
`key_frame_detection`, `picture_size`, `vp8`, `sps`,
`nal_units`                                             codec headers, with the number reader in `bits`
"""
