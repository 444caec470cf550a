"""`python -m services.dashboards`: write every dashboard's JSON."""

from services.dashboards.rendering import FOLDER, rendered

for name, text in rendered().items():
    (FOLDER / name).write_text(text)
