"""Which decay, on what evidence? Every arm tuned with the same budget, and judged on seeds that chose nothing."""
