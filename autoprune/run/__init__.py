"""One search from its arguments to its result: stages, run directory, checkpoints, callbacks."""
