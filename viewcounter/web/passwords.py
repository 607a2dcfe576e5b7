"""The hash of the passwords of the admin's users."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class PasswordHasher(Argon2PasswordHasher):
    """Argon2id with one of the settings that OWASP recommends (Password Storage Cheat Sheet): 46 MiB, 1 pass, 1 lane.

    Django's own 100 MiB and 8 lanes take a gateway's memory and all its cores for one guess. OWASP's other settings
    take less than 32 MiB, the size from which on glibc always gives memory back to the system; less stays with the
    thread. A password that was hashed with other parameters is hashed again, with these, at its next log-in.
    """

    memory_cost = 46 * 1024
    time_cost = 1
    parallelism = 1
