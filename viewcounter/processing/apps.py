from django.apps import AppConfig


class ProcessingConfig(AppConfig):
    name = "viewcounter.processing"
    label = "processing"
