from django.apps import AppConfig


class CatalogueConfig(AppConfig):
    name = "viewcounter.catalogue"
    label = "catalogue"
