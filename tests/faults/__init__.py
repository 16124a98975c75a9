"""Real hosts that break, one way after the other."""
