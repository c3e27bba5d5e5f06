"""What models share whose ratings are products of factors plus biases."""
