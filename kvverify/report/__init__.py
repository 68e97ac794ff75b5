"""What people and scripts read: tables, JSON objects, plots."""
