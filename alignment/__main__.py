"""`python -m alignment` is the `align` command, so that `accelerate launch -m alignment sft ...` works."""

from alignment.cli import main

if __name__ == "__main__":
    main()
