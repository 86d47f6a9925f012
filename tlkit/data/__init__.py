"""From a folder of pictures to batches, in the order of the steps.

    folder.py      which images and classes there are (manifest.py reads a CSV instead of folders)
    split.py       train, validation, test
    transforms.py  cut to size, and augment
    loader.py      batches for Keras (stream.py: plain arrays)
    images.py      read one picture; parallel.py: many at once, in order

Only loader.py imports Keras; no file here writes to the user's folder.
"""
