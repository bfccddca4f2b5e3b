"""Figures of a load test, computed from counts and clocks.

Owns packet counts, process usage, the status values that workers report, the results and the requirements on them.
Never sends, never draws, and knows no process but by its id.

    counts                one viewer's packets
    usage                 CPU and memory of a process
    status                states that the two workers report
    results               figures of a measurement, computed from these
    requirements          `--require`: parsed and checked
    limit                 search for the most viewers
"""
