"""Searches for an invariant of the decisions, or of agent and lease, that does not hold."""
