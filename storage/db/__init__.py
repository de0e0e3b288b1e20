"""The database of one process: connections, the writer, the schema and its migrations, notices."""
