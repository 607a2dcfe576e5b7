"""Makes Django find the commands of this package."""

from django.apps import AppConfig


class ProcessingConfig(AppConfig):
    name = "viewcounter.processing"
    label = "drains"  # "processing" is the label of the tables of viewcounter.maintenance
