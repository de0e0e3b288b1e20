"""Runs durable jobs: submit, claim, lease, run, answer, retention."""
