"""`python -m recorder`: the console script without its name."""

from recorder.cli import main

main()
