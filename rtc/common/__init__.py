"""Code that every other folder of `rtc/` may import; it imports none of them."""
