"""The servers behind HAProxy, asked by TCP when there is reason to doubt -> which do not count.

    addresses   which servers can be asked, and where
    settings    `show servers state` -> servers whose check goes where their traffic goes
    doubts      looks and self-tests -> reasons to ask, and how soon
    refusals    what connections found, and looks -> which servers do not count, until when

I/O:

    connector   two connections to a server
    asker       asks when there is a doubt, for as long as the agent runs
"""
