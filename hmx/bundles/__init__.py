"""Bundles: the folder of a model, its digest, and models that lie elsewhere."""
