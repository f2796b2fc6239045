"""A whole index, deleted from, saved and restored at scale. Run by ``make whole-index``."""
