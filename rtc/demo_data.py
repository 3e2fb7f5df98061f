"""`python -m rtc.demo_data OUT.zip` writes the demo's package; the drawing is `rtc/demo/data.py`."""

from rtc.demo.data import main

if __name__ == "__main__":
    main()
