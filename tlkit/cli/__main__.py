"""`python -m tlkit.cli`: the same as the command `tlkit`."""

from tlkit.cli import main

main()
