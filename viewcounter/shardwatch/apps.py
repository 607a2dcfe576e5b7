from django.apps import AppConfig


class ShardWatchConfig(AppConfig):
    name = "viewcounter.shardwatch"
    label = "operations"
