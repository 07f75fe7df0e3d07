"""Rules across several fields, which a schema cannot express; each yields problems with lines.

sections    what several rules share: access to a profile's sections, constants of the clouds
bgp         AS numbers, addresses, sessions
attributes  local preferences, and next hops of the other address family
limits      how many routes each platform takes, and we can carry
services    HAProxy's sockets and polling, VIPs, next hops, levels, times, self-tests
conditions  the conditions `serve` and `healthy`, limits, maintenance, prepends that do not steer
route_choice  next hops, a VIP that is on no interface here, a MED by a check
hooks       full paths, and bounds
checks      one kind for each check, keys that fit it, bounds
drains      times of drains, the list of regions, who may read the status by HTTP
"""
