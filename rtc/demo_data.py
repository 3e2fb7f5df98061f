"""`python -m rtc.demo_data OUT.zip` writes the demo's job package. The code is in `rtc/demo/data.py`."""

from rtc.demo.data import main

if __name__ == "__main__":
    main()
