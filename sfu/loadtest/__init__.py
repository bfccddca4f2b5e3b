"""`sfu load`: synthetic cameras and viewers in processes of their own, and what came of it in figures.

Real ICE, DTLS and SRTP against any server that speaks the contract; most packets are counted by their clear header.
Never reaches into the server and never decodes.

    command run              order of events: cameras up, viewers join, measure, verdict
    worker orders            the two child processes and what they are asked
    cameras footage          one process that publishes one encoded loop as many cameras
    viewers tally            one process that receives for all viewers
    signalling               one broker connection for all peers of a process
    plan require spread results limit   the pure parts: who goes where, what is demanded, statistics, verdicts
    usage table report       CPU and memory; the results for people
"""
