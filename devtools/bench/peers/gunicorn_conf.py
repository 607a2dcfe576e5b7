"""gunicorn as its manual advises: sync workers, twice the cores and one more, for the one core that it gets here.

While one waits for its commit, another one has the core. A sync worker closes the connection after each answer, as it
does behind the buffering proxy that the manual wants in front of it.
"""

workers = 2 * 1 + 1
worker_class = "sync"
accesslog = None
control_socket_disable = True
