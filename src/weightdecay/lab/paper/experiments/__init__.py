"""One file an experiment, or a few that ask the same: their runs, what they measure and what they claim."""
