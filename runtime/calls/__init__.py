"""One call of attention: its arguments checked, its operators, what torch does with them."""
