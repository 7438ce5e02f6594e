if __name__ != "lacuna.templates":
    raise ImportError(
        f"`lacuna.templates` was imported as `{__name__}`; a second copy would have its own identity.\n  write `import lacuna`"
    )
