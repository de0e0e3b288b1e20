"""Speaks a plan: which takes exist, who speaks the others, where they are stored."""
