"""Checks: what the agent asks besides HAProxy, by name.

observation  results in a row -> whether a check passes, by its `rise` and `fall`
evaluate     observation and rule -> finding
"""
