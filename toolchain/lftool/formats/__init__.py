"""Budgeted readers of model file headers: a file that they accept is safe to hand to native code."""
