"""Result files: their schema, and reading and writing them whole."""
