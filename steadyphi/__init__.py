"""SteadyPhi: fine-tune Phi and measure how much its answers depend on the prompt."""
