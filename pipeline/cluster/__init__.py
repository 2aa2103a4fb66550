"""Trainings and dumps on the nodes of a Ray cluster: where, never what."""
