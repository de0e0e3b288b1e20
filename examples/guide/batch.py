"""Speak several texts into one file each."""

from speech import generate_speech

TEXTS = ["Welcome to the show!", "Today we talk about machines that speak.", "Thank you for listening!"]

for number, text in enumerate(TEXTS):
    audio = generate_speech(text)
    with open(f"segment_{number}.mp3", "wb") as file:  # noqa: PTH123 - as short as can be
        file.write(audio)
