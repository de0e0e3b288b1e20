"""The audio store and the sweeper that empties it."""
