"""One call of attention, checked: patterns, tables, lengths, orders and keys beside them become a request."""
