"""How each schema came from the one before. Alembic reads this folder; nothing imports it on the usual path."""
