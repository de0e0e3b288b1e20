"""Print the endpoint's active workers and queued jobs."""

import os

import requests

API_KEY = os.environ.get("RUNPOD_API_KEY")
BASE_URL = os.environ.get("BASE_URL", "http://127.0.0.1:8000/v2/70sq2akye030kh")


def get_endpoint_metrics(endpoint_id, api_key):
    """Return the endpoint's status document."""
    address = f"{BASE_URL.rpartition('/')[0]}/{endpoint_id}"
    return requests.get(address, headers={"Authorization": f"Bearer {api_key}"}).json()


metrics = get_endpoint_metrics("70sq2akye030kh", API_KEY)
print(f"Active workers: {metrics.get('activeWorkers', 'unknown')}")
print(f"Jobs in queue: {metrics.get('jobsInQueue', 'unknown')}")
