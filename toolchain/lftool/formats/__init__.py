"""Budgeted readers of model file headers: what they accept is safe to hand to native code, or they raise."""
