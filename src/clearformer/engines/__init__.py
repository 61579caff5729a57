"""The same transformer in other libraries: each engine is a small package in that library's idiom, without PyTorch."""
