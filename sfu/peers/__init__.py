"""Client peers of our own: cameras and headless viewers that speak the contract like anybody else."""
