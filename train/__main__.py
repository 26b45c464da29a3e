"""`python -m train`, and so `accelerate launch -m train`."""

from train.cli import train

train()
