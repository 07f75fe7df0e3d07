"""Rules across several fields, which a schema cannot express; each yields problems with lines.

sections    what several rules share: access to a profile's sections, constants of the clouds
bgp         AS numbers, addresses, sessions
services    HAProxy, VIPs, levels, times
conditions  conditions, limits, maintenance, steering
drains      times of drains, the list of regions
"""
