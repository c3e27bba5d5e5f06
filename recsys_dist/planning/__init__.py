"""What a training needs before it starts: memory, traffic, disk and time."""
