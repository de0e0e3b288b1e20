"""Takes as samples: checked, trimmed, stretched, measured, finished."""
