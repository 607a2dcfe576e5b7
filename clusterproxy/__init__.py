"""Routes reads and writes of partitions to database instances, and survives the loss of any of them.

Responsible for the topology a process holds, for choosing instances (`plan`, pure) and for trying them in turn under
one deadline (`proxy`). Never changes topology, never touches SQL of its own, knows no Django and no viewcounter.
Talks to instances through `shardproxy`, and to a `TopologySource` that its owner hands in.
"""
