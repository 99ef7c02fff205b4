"""Data sets that ship with the package, one folder each, with their licences."""
