"""Benchmarks: these programs measure every number in the documentation. See NOTES.md."""
