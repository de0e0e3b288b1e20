"""From text to finished audio: plan, takes, PCM, bytes."""
