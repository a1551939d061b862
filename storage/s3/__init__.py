"""A store of blobs in a bucket of S3: everything that only this store needs."""
