"""`sfu load`: a load test of any server that speaks this protocol, with synthetic cameras and viewers.

Owns the test, from the plan to the report. Peers use real ICE, DTLS and SRTP; most packets are counted by their
unencrypted header. Never reaches into the server and never decodes. Imports point up this list:

    measure/              counts, CPU usage, results and requirements
    setup/                the plan, the footage, requests to the worker processes
    synthetic/            the worker processes: all cameras in one, all viewers in the other
    report/               results as a table, as an HTML page, and progress on the terminal
    run                   the order of events: cameras connect, viewers join, measure, report
"""
