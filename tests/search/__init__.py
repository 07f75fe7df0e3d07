"""The search for a broken promise of the decisions or of the lease."""
