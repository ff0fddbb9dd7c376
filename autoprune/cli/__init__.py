"""The command line `autoprune`: every command is one file, a parser and a thin call into the library."""


def main() -> None:
    """Run the command line; the entry point of the console script."""
    from autoprune.cli.app import app

    app(prog_name="autoprune")
