if __name__ != "lacuna.runtime":
    raise ImportError(f"`lacuna.runtime` was imported as `{__name__}`; a second copy would have its own identity.\n  write `import lacuna`")
