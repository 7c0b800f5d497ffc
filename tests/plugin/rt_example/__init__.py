"""One of each that another package can bring."""
