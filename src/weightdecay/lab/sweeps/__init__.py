"""Many runs: as a file, as a plan with its cost, and carried out."""
