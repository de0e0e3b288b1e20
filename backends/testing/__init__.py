"""For people who write backends: the conformance kit and the scripted backend."""
