"""recorder/segments"""
