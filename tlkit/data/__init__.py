"""From a folder of pictures to batches, in the order of the steps.

    folder.py      which images and classes there are (manifest.py reads a CSV instead of folders)
    fixes.py       marks on labels, laid over the folder
    duplicates.py  copies of one picture, to be kept on one side
    split.py       train, validation, test
    transforms.py  cut to size, and augment (pipelines.py: what each step of data.augment does)
    loader.py      batches for Keras (mixing.py: blended; stream.py: plain arrays)
    images.py      read one picture; parallel.py: many at once, in order

Beside them, for commands of their own: lint.py (`tlkit inspect`), arrange.py and fetch.py
(`tlkit data`), search.py (the files that `tlkit predict` is given).

Only loader.py and mixing.py import Keras; no file here writes to the user's folder.
"""
