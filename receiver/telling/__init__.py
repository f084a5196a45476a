"""What is told of runs, in words: the command line and the console say the same."""
