"""The verbs of the command line, one file each; `metarl.cli` calls them."""
