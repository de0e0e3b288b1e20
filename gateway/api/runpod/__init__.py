"""RunPod's job API."""
