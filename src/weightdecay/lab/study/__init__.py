"""A question of points, and what the runs say of it."""
