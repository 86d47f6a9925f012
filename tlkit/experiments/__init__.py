"""Experiments: whatever takes several trainings, or several runs, to answer one question.

folds.py      cross-validation
search.py     try recipes from ranges (search_space.py reads them, pruning.py ends bad trials)
lr_find.py    which rate to begin with (rising_rate.py raises it)
ensemble.py   the mean of several runs
"""
