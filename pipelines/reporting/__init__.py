"""What people see, of whatever job: `page.render`, charts, tables, pictures, words, commands to paste."""
