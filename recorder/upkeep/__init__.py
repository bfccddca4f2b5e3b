"""Work on recordings that already exist: repair after a crash, deletion of old ones, progressive copies.

Owns the retention policy and the one thread in which this work is done.

Never touches a file that is being written (it takes the writer's lock first), never deletes a protected recording, and
never runs in the event loop.
"""
