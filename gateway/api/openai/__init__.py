"""OpenAI's speech API, served under `/v1/`."""
