"""How the text of a configuration file becomes checked options, and every fault of it a line.

From the top down, imports only downwards: validation, wording, source, syntax, tree, variables, faults.
"""
