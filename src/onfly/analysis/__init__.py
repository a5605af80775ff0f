"""What a run and its production trajectories say: errors, calibration, structure, transport."""
