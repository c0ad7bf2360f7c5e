"""What the objects of a registry mean: path grammar, links, manifests, image references, marking, archives.

Everything here is pure: it works on strings, bytes and open files, and never calls S3 or a database.
"""
