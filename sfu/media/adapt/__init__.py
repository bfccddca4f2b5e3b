"""sfu/media/adapt"""
