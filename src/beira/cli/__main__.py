"""`python -m beira.cli`, for where the command itself is not on the path."""

from beira.cli import main

main()
