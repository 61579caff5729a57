"""The same transformer in other libraries: each engine is a small package in its own idiom, and none needs PyTorch."""
