"""The page of a spectrum."""
