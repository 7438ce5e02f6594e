if __name__ != "lacuna.interop":
    raise ImportError(f"`lacuna.interop` was imported as `{__name__}`; a second copy would have its own identity.\n  write `import lacuna`")
