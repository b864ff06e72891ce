"""Results as text and pictures: tables, the terminal, GitHub, the HTML page. Only here are numbers formatted."""
