"""The console: pages for those who operate an installation, served by the gateway under `/console/`."""
