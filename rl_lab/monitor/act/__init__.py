"""What guards can do to a training, and who asks them."""
