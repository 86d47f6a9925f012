"""Evaluation: from the table of predictions to numbers, and to what the report draws."""
