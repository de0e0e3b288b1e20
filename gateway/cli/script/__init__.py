"""Scripts to speak: their lines, what was spoken of them, and the joined file."""
