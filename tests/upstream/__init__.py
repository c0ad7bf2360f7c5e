"""django-storages' own tests, fetched when they run, with RegistryStorage in the place of its S3Storage."""
