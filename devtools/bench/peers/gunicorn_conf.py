"""gunicorn as its manual advises: sync workers, twice the number of cores and one more, here for one core.

While one worker waits for its commit, another one uses the core. A sync worker closes the connection after each answer,
as it does behind the buffering proxy that the manual requires.
"""

workers = 2 * 1 + 1
worker_class = "sync"
accesslog = None
control_socket_disable = True
