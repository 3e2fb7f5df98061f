"""What every other folder of `rtc/` may use; it imports none of them."""
