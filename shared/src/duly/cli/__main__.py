"""`python -m duly.cli`: the same as `duly`."""

from duly.cli.entry import main

if __name__ == "__main__":
    main()
