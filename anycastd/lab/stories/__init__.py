"""What is played in the network, step by step, with what a client and the far router saw.

I/O:

    report       how a story is printed
    live         what happens now, on a terminal
    recording    what was seen around a fault
    html_report  one HTML file with a timeline for each fault
    shell        a prompt in a lab that stays up
    steps        one step: do something, wait for what follows, print it
    failover     a region fails and comes back
    graded       a region serves with less
    circuits     two circuits on which prepends do not steer
"""
