"""Where training material comes from and how it becomes packed tokens."""
