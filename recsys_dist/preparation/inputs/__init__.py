"""Finds, identifies and unpacks input files."""
