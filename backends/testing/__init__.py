"""For plugin authors: the conformance kit and the scripted backend."""
