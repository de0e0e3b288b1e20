"""voxgate's own addresses: audio, lists, subtitles, voices, pronunciations, operations."""
