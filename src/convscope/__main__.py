"""`python -m convscope` is `convscope`."""

from convscope.cli import main

if __name__ == "__main__":
    main()
