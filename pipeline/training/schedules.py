"""Learning-rate schedules, as functions of training progress."""
