"""The HTTP surfaces; they translate and nothing more."""
