"""``python -m hmx``: the command line, where ``hmx`` is not on the path."""

from hmx.cli.main import main

if __name__ == "__main__":
    main()
