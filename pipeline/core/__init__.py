"""What every stage stands on: parameters, files, arrays, the prepared set, names that stand for code."""
