from django.apps import AppConfig


class StorageConfig(AppConfig):
    name = "viewcounter.storage"
    label = "storage"
