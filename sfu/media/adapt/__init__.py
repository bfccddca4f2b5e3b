"""One client's slots: the layer that each shows, chosen by what the client's link carries.

Owns the link estimate, the layer choice and the answers to the client's RTCP. Never forwards packets (`forward` does)
and never knows rooms. `downlink` has the slots and uses `link_estimate` and `layers`, which are pure.
"""
