"""Speak a script segment by segment, and upload each to a storage service (Supabase's storage API)."""

import os

import requests
from speech import generate_speech

STORAGE_URL = os.environ.get("SUPABASE_URL", "http://127.0.0.1:54321")
STORAGE_KEY = os.environ.get("SUPABASE_KEY", "")
BUCKET = "audio"

SCRIPT = [
    {"id": "intro", "text": "Welcome back to the podcast."},
    {"id": "main", "text": "This week: how a machine learns to speak."},
    {"id": "outro", "text": "See you next week."},
]


def upload_to_supabase(audio, path):
    """Store the audio under this path; returns its public address."""
    answer = requests.post(
        f"{STORAGE_URL}/storage/v1/object/{BUCKET}/{path}",
        headers={"Authorization": f"Bearer {STORAGE_KEY}", "Content-Type": "audio/mpeg", "x-upsert": "true"},
        data=audio,
    )
    answer.raise_for_status()
    return f"{STORAGE_URL}/storage/v1/object/public/{BUCKET}/{path}"


def generate_podcast_audio(script_segments):
    """Speak the segments; returns the public address of each segment's audio, in order."""
    audio_files = []
    for segment in script_segments:
        audio = generate_speech(text=segment["text"], format="mp3", speed=1.0)
        audio_files.append(upload_to_supabase(audio, f"podcasts/{segment['id']}.mp3"))
    return audio_files


if __name__ == "__main__":
    for address in generate_podcast_audio(SCRIPT):
        print(address)
