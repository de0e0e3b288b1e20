"""Storage: database models, one store class per table group, the writer, the audio store."""
