"""From settings to the parts of the service that need more than one line: access, the broker, HTTP.

Owns what a setting means for these parts. `sfu.service` alone calls it, in the order of its start.
"""
