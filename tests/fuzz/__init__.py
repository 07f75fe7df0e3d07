"""Hostile inputs for every surface, and bounds on what each may cost."""
