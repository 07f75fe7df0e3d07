"""Rules across several fields, which a schema cannot express; each yields problems with lines.

sections    what several rules need: a profile's sections, the clouds' constants
bgp         AS numbers, addresses, sessions
services    HAProxy, VIPs, levels, times
conditions  conditions, limits, maintenance, steering
drains      times of drains, the list of regions
"""
