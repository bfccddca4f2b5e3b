"""Inputs of `sfu publish` as the world offers them: cameras that leap, break off, hang, and carry what nobody can use.

Owns how an input is opened, the words for what went wrong, and the media time of live inputs. Never makes frames of
packets: `input_tracks` does.

    opening     opens an input, picks its usable streams, says in plain words why not
    live_reading  the packets of one connection to a live input
    live_clock  media time that grows with the time of arrival, whatever the camera's clock does (pure)
    backlog     packets from before the reader came, or that it has no time for (pure)
"""
