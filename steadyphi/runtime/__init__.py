"""The machine and the processes of a run: device, dtype, ranks and launching."""
