"""What this process is told and is: its settings, its version, its temporary folders."""
