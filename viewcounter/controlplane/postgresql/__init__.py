"""Django's database backend for the control database and for migrations of shards."""
