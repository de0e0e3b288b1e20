"""What every surface stands on: the connection, keys, errors, files, the OpenAPI document."""
