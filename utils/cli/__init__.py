"""The command line of the laboratory: flags made from configuration dataclasses, and tables of results."""
