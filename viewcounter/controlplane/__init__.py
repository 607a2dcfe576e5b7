"""The control plane of a deployment: preparing databases, shard schemas, the event log's identity, the config
service process.

The decisions are the config service's; here it gets its connections, tools and settings. Never on the path of an
event or a read.
"""
