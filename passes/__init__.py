if __name__ != "lacuna.passes":
    raise ImportError(f"`lacuna.passes` was imported as `{__name__}`; a second copy would have its own identity.\n  write `import lacuna`")
