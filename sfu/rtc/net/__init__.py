"""sfu/rtc/net"""
