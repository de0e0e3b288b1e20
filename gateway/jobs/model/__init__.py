"""The data of a job: views, ids, output, attempts, and signals of its changes."""
