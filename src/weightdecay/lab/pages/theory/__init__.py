"""The page of the theorems: each as numbers and curves."""
