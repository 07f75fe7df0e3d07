"""A recording: what the passes of an agent saw, as lines of JSON; and what follows from it.  Pure.

codec       JSON <-> values: one table describes both ways, and anything else is refused
values      the tables of everything that a pass takes and gives
patch       what differs between two JSON values
limits      bounds of a recording, and its version
writer      passes -> lines: only what changed is written
reader      lines -> passes, each with all its inputs
simulation  the passes again in virtual time, with this profile or another one
courses     two courses side by side: changes, time at each level, where they differ first
"""
