"""Evaluation: from the table of predictions to numbers, and to what the report draws.

    predictions.py   run the network over every image; predictions_table.py: one row per image
    temperature.py   calibrate the confidence on the validation images
    metrics.py       the scores of metrics.json (multilabel.py: of several labels; intervals.py: how
                     sure they are)
    displays.py      what the report draws, as numbers; advice.py: the one thing that would help
    agreement.py     whether the saved model says what the table says
    explain.py       what the network saw of some pictures
    insight.py       what kept features say of the data: probe.py trains small heads for audit.py
                     (doubtful labels), curve.py (would more help?) and baselines.py (trivial rules)

Beside them: comparison.py (`tlkit compare`), rates.py (`tlkit lr-find`), and for pictures without
a label answering.py (run the networks; by_ray.py: on a cluster) and answers.py (write what they
say).
"""
