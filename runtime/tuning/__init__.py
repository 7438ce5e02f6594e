"""`lacuna.tune`: choices by measurement, and files of them."""
