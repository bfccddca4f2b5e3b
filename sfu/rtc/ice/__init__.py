"""sfu/rtc/ice"""
