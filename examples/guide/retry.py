"""Speak a text, with retries after any failure."""

import time
from functools import wraps

from speech import generate_speech


def retry_on_failure(max_retries=3, delay=5):
    """Call a function up to `max_retries` times, `delay` seconds apart."""

    def decorator(func):
        @wraps(func)
        def wrapper(*args, **kwargs):
            for attempt in range(1, max_retries + 1):
                try:
                    return func(*args, **kwargs)
                except Exception as error:
                    if attempt == max_retries:
                        raise
                    print(f"attempt {attempt} failed ({error}); again in {delay} s")
                    time.sleep(delay)
            return None

        return wrapper

    return decorator


@retry_on_failure(max_retries=3, delay=5)
def generate_speech_with_retry(text, format="mp3"):  # noqa: A002 - the guide's name
    """Return the encoded audio of a text."""
    return generate_speech(text, format)


if __name__ == "__main__":
    print(len(generate_speech_with_retry("Patience is a virtue.")), "bytes")
