"""How the text of a configuration file becomes checked options, and every fault of it a line.

From the top down, imports only downwards: sections, validation, wording, source, syntax, model, tree, variables,
faults.
"""
