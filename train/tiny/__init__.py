"""A Whisper of a few hundred thousand parameters, for demo and tests: configuration and tokenizer, no weights."""
