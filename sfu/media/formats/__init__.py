"""sfu/media/formats"""
