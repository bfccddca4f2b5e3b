"""recorder/upkeep"""
