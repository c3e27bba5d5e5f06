"""The process itself: its signals, its threads and its memory."""
