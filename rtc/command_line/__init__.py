"""From the command line to the programs: options, configuration, and what the commands run; also the generated docs."""
