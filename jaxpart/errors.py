"""The one exception that a user's mistake raises."""


class JaxpartError(Exception):
    """Wrong input, told in one sentence: what is wrong, where, and what to do.

    Command lines print the sentence and exit with 2; anything else that is raised is a bug.
    """
