"""DriftMoE: an online mixture of experts for data streams that drift."""
