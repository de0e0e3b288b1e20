"""Submit a text, poll until it is spoken, decode the audio."""

import base64
import os
import time

import requests

API_KEY = os.environ.get("RUNPOD_API_KEY")
BASE_URL = os.environ.get("BASE_URL", "http://127.0.0.1:8000/v2/70sq2akye030kh")
HEADERS = {"Authorization": f"Bearer {API_KEY}"}


def generate_speech(text, format="mp3", speed=1.0):  # noqa: A002 - the guide's name
    """Return the encoded audio of a text."""
    submitted = requests.post(
        f"{BASE_URL}/run",
        headers={**HEADERS, "Content-Type": "application/json"},
        json={"input": {"text": text, "format": format, "speed": speed}},
    )
    job_id = submitted.json()["id"]
    print(f"submitted {job_id}")
    while True:
        job = requests.get(f"{BASE_URL}/status/{job_id}", headers=HEADERS).json()
        if job["status"] == "COMPLETED":
            return base64.b64decode(job["output"]["audio_base64"])
        if job["status"] == "FAILED":
            raise RuntimeError(f"the job failed: {job.get('error')}")
        print(job["status"])
        time.sleep(2)


if __name__ == "__main__":
    audio = generate_speech("Hello! This is a test of the speech service.", format="mp3", speed=1.0)
    with open("output.mp3", "wb") as file:  # noqa: PTH123 - as short as can be
        file.write(audio)
    print(f"output.mp3: {len(audio)} bytes")
