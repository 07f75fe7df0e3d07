"""anycastd announces an anycast VIP over BGP while there is fresh proof that HAProxy can serve it.

One event, from HAProxy's socket to the UPDATE (ten functions, in this order):

   1  evidence/haproxy/event_stream   EventStream._receive
        HAProxy's event ring says that a server went down: look now
   2  evidence/haproxy/look           Looker.look
        a new connection, one request (query), one answer -> Snapshot, Gone or Unreadable
   3  evidence/haproxy/stats          parse_in_turns
        the answer -> Snapshot, stamped with when it was asked for; or it is refused
   4  agent/inbox                     Inbox.store_observation
        the newest value of every source; wakes the loop
   5  agent/decision_loop             DecisionLoop.run
        one pass: decision/pipeline.advance(profile, memory, inputs, now)
   6  decision/verdict                judge_service
        Snapshot and rules -> Findings (true, false, unknown) -> Verdict
   7  decision/policy                 decide_level
        every cap, the lowest one is the level; each with a named Reason
   8  decision/routes                 build_wanted_routes
        level -> one route for each neighbor, or none
   9  agent/lease_client              LeaseClient.renew
        Want: the whole set, for ttl seconds; nothing else renews the lease
      --- another process: ExaBGP's child, which outlives the agent ---
  10  lease/machine                   LeaseMachine.on_message
        what differs from what is advertised (AdjRibOut.update), withdrawals first;
        speaker/lease_process sends it to ExaBGP (speaker/exabgp/api -> a line -> UPDATE)

`Watcher` (evidence/haproxy/watcher) waits for 1, calls 2 and gives the result to 4; agent/daemon
wires them.

The folders, each using only those that its line names:

    reasons    every named reason, its sentence and its remedy; uses nothing
    system     clock, systemd, exit codes: the standard library alone; uses nothing
    bgp        routes and sessions, the values that both processes share; uses nothing
    profile    what the operator wants: text -> Profile; uses bgp
    evidence   what is known of this machine; uses reasons, system and profile
    lease      the protocol between agent and speaker, and the dead man's switch; uses bgp
    decision   evidence -> level -> routes; uses reasons, system, profile, evidence, bgp and lease
    recording  passes, kept and run again; uses reasons, profile, evidence, bgp, lease and decision
    views      what is shown; uses reasons, system, profile, evidence, bgp, lease and decision
    speaker    ExaBGP: files, patches, child; uses system, profile, bgp, lease and decision
    migration  foreign configurations -> a profile to begin with; uses system, profile and evidence
    agent      the loop, its sources and its sinks; uses all above
    cli        the command line, one file for each command; uses all above
               (its command ``lab`` also uses lab)
    lab        a rehearsal network that drives the rest from outside; uses nothing

Beside them, ``keeper`` forwards to the lease process for speakers of 0.1.0; nothing else uses it.

The folders stand in the order of their imports: but for that command none imports one below
it.  Each folder's ``__init__`` lists its files in order: a file imports only files above it there.
``tests/house/test_tour.py`` reads all of this and compares it with the imports.
"""

__version__ = "0.1.0"
