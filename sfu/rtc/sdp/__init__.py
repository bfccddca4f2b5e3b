"""sfu/rtc/sdp"""
