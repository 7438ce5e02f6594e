if __name__ != "lacuna.codegen":
    raise ImportError(f"`lacuna.codegen` was imported as `{__name__}`; a second copy would have its own identity.\n  write `import lacuna`")
