"""Durable jobs: submit, claim, lease, run, retention."""
