"""What is known of tensors: whether they changed, where their numbers are, how torch dispatches on them."""
