"""The replay: real data as a stream of single events, sent over HTTP, and every count compared with the truth.

Turns the sample into events and truth (`dataset`, `timeline`, `truth`, `bad_events`, `batches`, `plan`: pure), sends
them (`sender`) and asks what was counted (`comparison`) as any client would (`service`). It talks to the public HTTP
API only, never to a database or the log: what it proves is what a client sees.
"""
