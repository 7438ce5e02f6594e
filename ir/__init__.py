"""The nouns: expressions, programs, schedules, plans, their textual form, and the language users write them in."""

if __name__ != "lacuna.ir":
    raise ImportError(f"`lacuna.ir` was imported as `{__name__}`; a second copy would have its own intern table.\n  write `import lacuna`")
