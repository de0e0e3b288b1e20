"""The gateway: surfaces, jobs, routing, speech, cache and the hosts of backends."""
