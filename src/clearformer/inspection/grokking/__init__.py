"""What a model does that learned arithmetic modulo a prime: Fourier measures, its circuit, the phases of its training.

Nanda et al. 2023, arXiv:2301.05217
"""
