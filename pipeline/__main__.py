"""`python -m pipeline` is `prep`."""

from pipeline.cli.main import main

if __name__ == "__main__":
    main()
