"""sfu/media/forward"""
