"""`python -m ensemble_ad` is `ensad`."""

from ensemble_ad.cli import main

main(prog_name="ensad")
