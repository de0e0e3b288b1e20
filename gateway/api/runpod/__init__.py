"""RunPod's job API, served under `/v2/{endpoint_id}` and at the root."""
