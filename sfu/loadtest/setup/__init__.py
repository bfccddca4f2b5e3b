"""Description of a load test before it runs.

Owns the plan, the footage that cameras send, and the requests that the parent process sends to its workers.
Never runs anything.

    plan                  which camera and which viewer is in which room
    footage               the video loop that all cameras send
    presence              whether a server is there
    worker_messages       requests to the workers, and the type of each reply
"""
