"""Neural rankers from before the transformers: small networks over token ids, one file each."""
