"""Estimates of the memory that training and inference need, and the free memory of the machine."""
