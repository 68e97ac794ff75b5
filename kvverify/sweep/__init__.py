"""Sweeps: many audits from one file, on any executor, with results that outlive a kill. Source: ours."""
