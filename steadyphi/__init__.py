"""SteadyPhi: fine-tune Phi and measure how much its answers depend on the prompt."""

import os

# OpenMP reads this when torch is imported. By default its threads wait for one another by spinning, and two
# experiments on the same cores then take many times as long as one after the other.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
