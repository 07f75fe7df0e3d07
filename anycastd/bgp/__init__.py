"""Routes and sessions, the values that agent and lease process share.  Pure, stdlib only.

route       a route as one neighbor is to receive it
session     a neighbor's session, and why it was closed
negotiated  what both ends of a session agreed on: families, hold time, length of AS numbers
"""
