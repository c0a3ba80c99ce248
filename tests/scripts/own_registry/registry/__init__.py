"""A folder of the user's that happens to be called as one of fitserve's packages."""

OWNER = "user"
