if __name__ != "lacuna.patterns":
    raise ImportError(f"`lacuna.patterns` was imported as `{__name__}`; a second copy would have its own identity.\n  write `import lacuna`")
