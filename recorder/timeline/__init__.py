"""recorder/timeline"""
