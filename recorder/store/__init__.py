"""recorder/store"""
