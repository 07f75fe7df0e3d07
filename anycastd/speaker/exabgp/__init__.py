"""exabgp."""
