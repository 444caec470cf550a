"""From a shop's raw files to clean tables with labels, splits and a data card. Pure but for reading and writing files."""
