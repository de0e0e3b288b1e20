"""Runs backends: finds them, starts their workers, and gives chunks to them in fair order."""
