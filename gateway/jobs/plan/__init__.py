"""Decodes a request, assigns it to a backend, plans its takes, and makes its record."""
