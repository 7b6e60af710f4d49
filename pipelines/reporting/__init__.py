"""What people see: pages, charts, pictures, words."""
