"""``python -m zeroloss`` is the command ``zeroloss``."""

from .cli import main

if __name__ == "__main__":
    main()
