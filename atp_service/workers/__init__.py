"""The roles of `atp worker`. A role is one word: module, command line, log field, metric label."""
