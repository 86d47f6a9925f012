"""Experiments: whatever takes several trainings, or several runs, to answer one question."""
