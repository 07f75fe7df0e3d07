"""Evidence -> verdict -> level -> routes.  Pure: values in, values out, time is an argument.

levels         the four levels, and the table of everything that can cap them
last_known     the last known value of a condition, believed for a bounded time
memory         what one service's decision remembers, and what of it outlives the agent
verdict        observations and a service's rules -> Verdict
caps           the facts and waits that cap a level
next_hop       the next hop of a service that has several: the first that serves
med            the MED of a service by the step of a check
policy         the lowest cap is the level: Decision; its text explains the whole state machine
region_report  what regions report to each other of a VIP: both ends of one format
drains         what an operator drains, the guard (does another region serve?), and the cap
stored_drains  drains -> JSON values and back; what cannot be read counts as a drain
routes         levels -> the wanted routes of each neighbor
kept_levels    the levels that an agent leaves on the lease, for one with another profile
sessions       whether a session that is up carries an address family
pipeline       advance(): one pass; the only composition of the files above
forecast       passes into the future on the same evidence: what comes next
lowering       services that a new profile would lower, on the same evidence
"""
