"""recorder/playback"""
