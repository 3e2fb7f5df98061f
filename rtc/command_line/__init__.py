"""What stands between the words of a command line and the programs: options, configuration, generated pages."""
