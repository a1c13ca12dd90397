"""One update rule per file; a file dropped here is an agent. See agents/rule.py for the contract."""
