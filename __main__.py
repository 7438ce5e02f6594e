"""`python -m lacuna`, and the script `lacuna`: starts the command line and nothing else."""

from __future__ import annotations


def main() -> None:
    from .cli.app import app

    app(prog_name="lacuna")


if __name__ == "__main__":
    main()
