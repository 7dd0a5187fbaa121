"""The loop: a run in, a result out."""
