"""The transformer in tinygrad, on any device that it supports; `adapter` handles its versions and starts it."""
