"""The tasks of E08, one file a task or a part of one."""
