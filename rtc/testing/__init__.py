"""What other projects' tests may import: stand-ins for the programs and machines that a test has no time for."""
