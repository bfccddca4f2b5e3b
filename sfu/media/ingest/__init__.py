"""sfu/media/ingest"""
