"""The parts that all surfaces share: the connection, keys, errors, files, the OpenAPI document."""
