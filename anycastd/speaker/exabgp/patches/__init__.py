"""What we change in ExaBGP, each beside its reason.

queue      of one route only the newest command is sent, and many routes leave at once
"""
