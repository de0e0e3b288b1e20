"""Scripts for `voxgate batch`: reading their lines, the manifest of finished lines, and the joined file."""
