"""Follows a job while it is spoken: streams, stream items, subtitles."""
