"""sfu/loadtest/synthetic"""
