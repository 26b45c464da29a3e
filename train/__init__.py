"""Training and judging a call-for-help detector on the manifests: multitask Whisper, its gated cascade, and a stream."""
