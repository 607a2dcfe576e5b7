"""How the pool processes of a worker learn that it is shutting down: one byte that they share with their parent.

Celery's warm shutdown waits for running tasks without telling them. A drain that knows ends after the flush under
way instead of after its whole budget.
"""

import mmap

_flag = mmap.mmap(-1, 1)  # anonymous and shared: made when the module is first imported, before the pool forks


def request_stop() -> None:
    _flag[0] = 1


def is_stopping() -> bool:
    return _flag[0] == 1
