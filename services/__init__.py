"""The processes: the command, the worker, the updater, the embedded stack, the simulated shop."""
