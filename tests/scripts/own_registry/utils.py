"""A module of the user's."""


def double(value):
    return 2 * value
