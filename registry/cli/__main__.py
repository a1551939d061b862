"""`python -m registry.cli`: the command, where its program is not on the path."""

from registry.cli import main

if __name__ == "__main__":
    main()
