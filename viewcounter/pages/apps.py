from django.apps import AppConfig


class PagesConfig(AppConfig):
    name = "viewcounter.pages"
    label = "pages"
