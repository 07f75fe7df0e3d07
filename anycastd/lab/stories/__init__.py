"""What is played in the network, step by step, with what a client and the far router saw.

I/O:

    report    how a story is printed
    steps     one step: do something, wait for what follows, print it
    failover  a region fails and comes back
    graded    a region serves with less
    circuits  two circuits on which prepends do not steer
"""
