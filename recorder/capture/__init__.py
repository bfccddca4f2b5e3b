"""recorder/capture"""
