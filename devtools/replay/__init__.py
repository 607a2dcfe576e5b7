"""The replay: real data as a stream of single events, sent over HTTP; then every count is compared with the truth.

Turns the sample into events and correct counts (`dataset`, `timeline`, `truth`, `bad_events`, `batches`, `plan`: pure),
sends them (`sender`) and reads the counts (`comparison`) through the client library (`service`). It uses the public
HTTP API only, never a database or the log, so it proves the results that clients see.
"""
