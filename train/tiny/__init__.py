"""A Whisper of a few hundred thousand parameters, for the demonstration and the tests: configuration and tokenizer, no weights."""
