"""voxgate's own API: audio, lists, subtitles, voices, pronunciations, operations."""
