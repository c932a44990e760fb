"""The machine and the processes of a run: device, number format, ranks, launching."""
