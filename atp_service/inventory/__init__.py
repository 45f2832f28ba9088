"""The state machine of stock: its commands, its outcomes, its rules in Lua and in Python."""
