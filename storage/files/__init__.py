"""The audio store, and the sweeper that removes unused files from it."""
