"""One view an address. Each validates, makes one call of `queries` or `catalogue`, and encodes its answer."""
