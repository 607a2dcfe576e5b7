from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "viewcounter.operations"
    label = "operations"
