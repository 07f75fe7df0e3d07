"""What is shown to people and programs.  Pure: decisions and reports -> values, as JSON.

events            something that happened, and the table of all kinds
transition_event  a change of level as an event
event_sessions    BGP sessions that were lost and found, as events
event_problems    problems that begin and end, as events
event_haproxy     HAProxy gone, back and reloaded, and its maintenance map, as events
event_commands    what operators do, and starts and stops of the agent, as events
hook_input        what a hook is told of an event, and which events it is told of
severity          what is announced in fact, and how bad a status is
summary           a status in one sentence: the verdict
troubles          what is not as wanted, worst first, each with its remedy once
drain_progress    how far a drain has got, and whether it is safe to reboot
reason_view       a named reason, as status and explain show it
check_status      what is known of each check
route_choice      next hops and a MED by choice, as status and explain show them
status_values     the values of a status; their names are the keys of the JSON
problems          everything that is not as wanted, one sentence each
announcement      the route of a service at each neighbor, and whether it is served
metric_table      every metric: its name, type, labels and meaning
metric_values     the values of the metrics that follow from the newest state
session_detail    why a session is down, with the values of the profile
judged            a status in short, for metrics and probes
status            the one view of everything
page_style        style, script and policy of the page
page_parts        the pieces of the page: escaped text, tables, the rows of a service
timeline_svg      the levels of services over time, as SVG
page              the page for people, as HTML
explain           why a service is announced as it is, and what comes next
reload_plan       what a reload would change
"""
