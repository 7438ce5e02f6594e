"""The command line: one file per subcommand. What it finds out is data first, printed as text or as JSON afterwards."""

if __name__ != "lacuna.cli":
    raise ImportError(f"`lacuna.cli` was imported as `{__name__}`; a second copy would have its own identity.\n  write `import lacuna`")
