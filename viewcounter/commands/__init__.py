"""What commands and Django's set-up share. Loads neither settings nor models before a command works."""
