"""Benchmarks: every number in the documentation is made by one of these programs. See NOTES.md."""
