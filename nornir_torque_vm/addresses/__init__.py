"""Addresses of guests that no DHCP server gives, whose they are, and giving back those that one gave."""
