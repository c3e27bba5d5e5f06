"""What an unknown file seems to hold."""
