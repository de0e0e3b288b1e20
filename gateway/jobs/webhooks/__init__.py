"""Delivers webhooks through HTTP that is guarded against private addresses."""
