"""Tools to test backends with: the conformance kit and the scripted backend."""
