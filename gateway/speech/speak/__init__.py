"""Speaks a plan: finds stored takes, has the others spoken, and stores them."""
