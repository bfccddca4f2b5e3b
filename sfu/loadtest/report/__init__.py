"""sfu/loadtest/report"""
