"""Models, repositories, the writer, the audio store."""
