"""The plugin contract and the backends that ship with voxgate."""
