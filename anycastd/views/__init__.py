"""What is shown to people and programs.  Pure: decisions and reports -> values, as JSON.

severity        how bad a status is, for monitoring
drain_progress  how far a drain has got, and whether it is safe to reboot
reason_view     a named reason, as status and explain show it
status          the one view of everything
explain         why a service is announced as it is, and what comes next
reload_plan     what a reload would change
"""
