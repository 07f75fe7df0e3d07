"""Routes and sessions, in no speaker's own words: what both processes share.  Pure, stdlib only.

route      a route as one neighbor is to receive it
session    a neighbor's session, and why it was closed
"""
