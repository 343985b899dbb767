"""Events in from message brokers, for `sendoff consume`: RabbitMQ, NATS JetStream and Kafka.

`source` says where from and `messages` what a message holds; `acceptance` turns a batch of messages into events, in one
transaction, and `batches` does so until the database takes it. One module a broker connects those with FastStream, and
`process` runs it all. The packages of the extra `sendoff[brokers]` are imported by the brokers' modules alone.
"""
