"""Errors meant for people.

Each carries one line that says what is wrong, where, and what would be right. The command line prints that
line and exits with code 2; a traceback means a defect of the program, never a mistake of its user.
"""


class RecsysDistError(Exception):
    """Base of every error that the command line prints as one line."""


class ConfigError(RecsysDistError):
    """The configuration names an unknown key, a wrong value or an impossible combination."""


class DataError(RecsysDistError):
    """An input file or a prepared dataset cannot be used as it is."""


class CheckpointError(RecsysDistError):
    """A checkpoint or a model folder is missing, damaged or of another run."""


class TrainingError(RecsysDistError):
    """Training cannot go on: numbers that are not finite, ranks that disagree, a peer that is gone."""
