"""`python -m sfu` is the console script."""

from sfu.cli import main

main()
