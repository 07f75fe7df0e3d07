"""The protocol between agent and speaker, and the dead man's switch.  Pure, stdlib only.

commands     commands to a speaker and facts from it, in a form that any speaker can use
fields       typed and bounded values of parsed JSON
messages     Want (agent -> lease) and Report (lease -> agent), as lines of JSON
permits      the speaker's own list of the routes that it may announce
settings     lease.json, the lease process's only argument: both ends of the format; Settings
effects      what the machine asks the lease process to do
intake       which message of an agent is accepted: its size, its sender, its epoch
owner        which agent owns the lease; the ban on agents that crash in a loop
neighbor     what the lease knows of one neighbor
reconfigure  how a running speaker takes over other sessions, one at a time
adj_rib_out  requested, permitted and advertised routes, and what differs
outstanding  commands that the speaker has not answered yet
reports      the report of the lease, built from its state
due          when time alone gives the lease something to do
machine      the state machine of the lease: messages, facts and time in, effects out
"""
