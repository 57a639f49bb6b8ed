"""The rules of the importer, one file a family of operators."""
